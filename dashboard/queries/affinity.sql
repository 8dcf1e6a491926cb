SELECT replace(item, '_', ' ') AS item, replace(other, '_', ' ') AS other, together, support, confidence, lift
FROM loyalty.product_affinity('loyalty_bi.purchase_line', min_together => 10)
