SELECT channel, amount AS cost, joined, cost_per_member FROM loyalty_bi.channel_cost WHERE joined > 0
	AND until = (SELECT max(c.until) FROM loyalty_bi.channel_cost c WHERE c.joined > 0) ORDER BY cost_per_member DESC, channel
