-- What members have, as figures that no version answers otherwise.
SELECT concat_ws('|', member_id, currency, available, pending, held)
FROM loyalty.wallet w, loyalty.balance(w.member_id, w.currency, as_of => '2026-01-01') b
ORDER BY member_id, currency;
