--
-- activity: an order, what becomes of it, and a row that is one
--
CREATE EXTENSION loyalty CASCADE;
SET timezone = 'UTC';
SET datestyle = 'iso, ymd';
SELECT loyalty.setup() IS NOT NULL AS done;
SELECT kind, name, same_when FROM loyalty.activity_kind ORDER BY kind;
SELECT loyalty.define_activity_kind('ride', 'Ride', 'never'), loyalty.define_holidays('de', '{2026-12-25,2026-12-26}');
SELECT loyalty.define_product('T1', 'drinks/tea', 'zeta', 'a'), loyalty.define_product('T1', 'drinks/tea', 'zeta', 'b', effective_from => '2026-06-01');
-- an order with lines
SELECT * FROM loyalty.record_activity(1, 'order', '2026-05-02 22:30', lines => '[{"sku": "T1", "quantity": 3, "amount": 10.00}, {"sku": "B7", "price": 4, "quantity": 2, "discount": 0.50, "note": "a gift"}]',
	external_id => 'A', money => 'EUR', channel => 'app', time_zone => 'Europe/Berlin', document => '{"table": 5}', idempotency_key => 'k');
SELECT * FROM loyalty.record_activity(1, 'order', '2026-05-02 22:30', amount => 18, external_id => 'A', idempotency_key => 'k');
SELECT * FROM loyalty.record_activity(1, 'order', '2026-05-02 22:30', amount => 18, external_id => 'A');
SELECT line, sku, category, grade, earns, quantity, amount, money FROM loyalty.activity_line;
-- goods come back, in two parts
SELECT * FROM loyalty.record_return(1, 1, '[{"line": 1, "quantity": 1}]', at => '2026-05-10', reference => 'R1');
SELECT * FROM loyalty.record_return(1, 1, '[{"line": 1, "quantity": 1}, {"line": 2}]', at => '2026-05-20', reference => 'R2');
SELECT * FROM loyalty.record_return(1, 1, '[{"line": 1, "quantity": 2}]');
SELECT line, quantity, returned_quantity, amount FROM loyalty.activity_line;
SELECT a.at, a.amount, a.revision FROM (VALUES (date '2026-05-03'), ('2026-05-15'), ('2026-05-25')) d (day), loyalty.activities(1, as_of => d.day) a;
SELECT revision, is_return, at, reference, was_amount FROM loyalty.activity_revision;
-- the wrong card
SELECT * FROM loyalty.revise_activity(1, 1, to_member_id => 2);
SELECT * FROM loyalty.revise_activity(1, 1, cancelled => true);
SELECT member_id, amount, cancelled, moved_to, local_day FROM loyalty.activity ORDER BY member_id;
-- many at once
SELECT ordinal, discount, points, awards, replayed FROM loyalty.record_many('{3,4}', '{ride,ride}', amounts => '{1,NULL}', external_ids => '{x,x}');
-- a table of one's own
CREATE TABLE shop_order (id int PRIMARY KEY, member_id bigint, total numeric, status text);
CREATE TRIGGER record AFTER INSERT OR UPDATE OR DELETE ON shop_order FOR EACH ROW
	EXECUTE FUNCTION loyalty.record_from_row('source=shop', 'member=member_id', 'amount=total', $$when=status <> 'cancelled'$$);
INSERT INTO shop_order VALUES (1, NULL, 50, 'paid');
UPDATE shop_order SET member_id = 5;
UPDATE shop_order SET total = 40, status = 'cancelled';
SELECT external_id, amount, cancelled, revision FROM loyalty.activities(5);
SELECT * FROM loyalty.check_all();
