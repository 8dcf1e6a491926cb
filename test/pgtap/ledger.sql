-- ledger: the program, case by case.  A story is one member's; its steps run in
-- order; each says what the balance is afterwards, or which SQLSTATE refuses it.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- Before setup() there is nothing to write to.
SELECT throws_ok($$SELECT loyalty.earn(1, 1)$$, 'LY001', NULL, 'earn() before setup()');
SELECT lives_ok($$SELECT loyalty.setup()$$, 'setup()');
SELECT lives_ok($$SELECT loyalty.setup()$$, 'setup() again');

SELECT is(loyalty.create_currency('oldest', consumption_order => 'oldest_first', time_zone => 'UTC'), 'oldest', 'create_currency() returns the code');
SELECT FROM loyalty.create_currency('in_lot', clawback_policy => 'within_lot', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('in_balance', clawback_policy => 'within_balance', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('grace', refund_grace => '10 days', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('slide_grace', expiry_policy => 'sliding', expiry_interval => '10 days', refund_grace => '3 days', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('slide', expiry_policy => 'sliding', expiry_interval => '10 days', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('roll', expiry_policy => 'rolling', expiry_interval => '10 days', time_zone => 'UTC');
SELECT FROM loyalty.create_currency('roll_earned', expiry_policy => 'rolling', expiry_interval => '10 days', time_zone => 'UTC', life_from => 'earned');

-- ---------------------------------------------------------------------------
-- Stories
-- ---------------------------------------------------------------------------

CREATE TEMP TABLE step (
	n serial,
	story text,			-- one member each
	name text,			-- of the entry, for {name} in later calls
	call text,			-- $m is the member; @5 is the 5th of January 2024
	outcome text		-- available/pending/held/debt on that day, or SQLSTATE
);
INSERT INTO step (story, name, call, outcome) VALUES
	('earn and redeem', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('earn and redeem', 'b', 'redeem($m, 30, effective_at => @2)', '70/0/0/0'),
	('earn and redeem', 'c', 'redeem($m, 71, effective_at => @2)', 'LY101'),
	('earn and redeem', 'd', 'redeem($m, 70, effective_at => @2)', '0/0/0/0'),
	('earn and redeem', 'e', 'redeem($m, 1, effective_at => @2)', 'LY101'),

	('no wallet', 'a', 'redeem($m, 1, effective_at => @2)', 'LY101'),
	('no wallet', 'b', 'adjust($m, -1, ''x'', effective_at => @2)', 'LY101'),
	('no wallet', 'c', 'hold($m, 1, hold_until => @9, effective_at => @2)', 'LY101'),
	('no wallet', 'd', 'transfer($m, 999999, 1, effective_at => @2)', 'LY101'),

	('earliest expiry first', 'a', 'earn($m, 10, effective_at => @1, expires_at => @20)', '10/0/0/0'),
	('earliest expiry first', 'b', 'earn($m, 10, effective_at => @2, expires_at => @10)', '20/0/0/0'),
	('earliest expiry first', 'c', 'redeem($m, 10, effective_at => @3)', '10/0/0/0'),
	('earliest expiry first', 'd', 'redeem($m, 10, effective_at => @12)', '0/0/0/0'),

	('oldest first', 'a', 'earn($m, 10, currency => ''oldest'', effective_at => @1, expires_at => @20)', '10/0/0/0'),
	('oldest first', 'b', 'earn($m, 10, currency => ''oldest'', effective_at => @2, expires_at => @10)', '20/0/0/0'),
	('oldest first', 'c', 'redeem($m, 10, currency => ''oldest'', effective_at => @3)', '10/0/0/0'),
	('oldest first', 'd', 'redeem($m, 10, currency => ''oldest'', effective_at => @12)', 'LY101'),

	('expiry', 'a', 'earn($m, 10, effective_at => @1, expires_at => @5)', '10/0/0/0'),
	('expiry', 'b', 'redeem($m, 1, effective_at => @5)', 'LY101'),
	('expiry', 'c', 'redeem($m, 1, effective_at => @5 - interval ''1 microsecond'')', '9/0/0/0'),

	('pending', 'a', 'earn($m, 10, effective_at => @1, available_at => @5)', '0/10/0/0'),
	('pending', 'b', 'redeem($m, 1, effective_at => @5 - interval ''1 microsecond'')', 'LY101'),
	('pending', 'c', 'redeem($m, 1, effective_at => @5)', '9/0/0/0'),

	('activate', 'a', 'earn($m, 10, effective_at => @1, pending => true)', '0/10/0/0'),
	('activate', 'b', 'activate($m, {a}, effective_at => @3)', '10/0/0/0'),
	('activate', 'c', 'activate($m, {a}, effective_at => @4)', 'LY108'),
	('activate', 'd', 'redeem($m, 1, effective_at => @2)', 'LY101'),
	('activate', 'e', 'redeem($m, 1, effective_at => @4)', '9/0/0/0'),
	('activate', 'f', 'activate($m, {e}, effective_at => @4)', 'LY104'),
	('activate an adjust', 'a', 'adjust($m, 10, ''to be confirmed'', effective_at => @1, pending => true)', '0/10/0/0'),
	('activate an adjust', 'b', 'activate($m, {a}, effective_at => @3)', '10/0/0/0'),
	('activate an adjust', 'c', 'adjust($m, -4, ''mistake'', effective_at => @4)', '6/0/0/0'),
	('activate an adjust', 'd', 'activate($m, {c}, effective_at => @5)', 'LY108'),

	('hold and capture', 'a', 'earn($m, 100, effective_at => @1, expires_at => @10)', '100/0/0/0'),
	('hold and capture', 'b', 'hold($m, 40, hold_until => @20, effective_at => @2)', '60/0/40/0'),
	('hold and capture', 'c', 'hold($m, 61, hold_until => @20, effective_at => @2)', 'LY101'),
	('hold and capture', 'd', 'capture($m, {b}, 41, effective_at => @3)', 'LY101'),
	('hold and capture', 'e', 'capture($m, {b}, 30, effective_at => @3)', '70/0/0/0'),
	('hold and capture', 'f', 'capture($m, {b}, effective_at => @3)', 'LY107'),
	('hold and capture', 'g', 'release($m, {b}, effective_at => @3)', 'LY107'),
	('hold and capture', 'h', 'reverse($m, {e}, effective_at => @4)', '100/0/0/0'),
	('hold and capture', 'i', 'capture($m, {a}, effective_at => @4)', 'LY104'),

	('a hold outlives the expiry', 'a', 'earn($m, 100, effective_at => @1, expires_at => @10)', '100/0/0/0'),
	('a hold outlives the expiry', 'b', 'hold($m, 40, hold_until => @20, effective_at => @2)', '60/0/40/0'),
	('a hold outlives the expiry', 'c', 'capture($m, {b}, 30, effective_at => @15)', '0/0/0/0'),
	('a hold outlives the expiry', 'd', 'redeem($m, 1, effective_at => @15)', 'LY101'),

	('a hold released after the expiry', 'a', 'earn($m, 100, effective_at => @1, expires_at => @10)', '100/0/0/0'),
	('a hold released after the expiry', 'b', 'hold($m, 40, hold_until => @20, effective_at => @2)', '60/0/40/0'),
	('a hold released after the expiry', 'c', 'release($m, {b}, effective_at => @15)', '0/0/0/0'),

	('a hold lapses by itself', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('a hold lapses by itself', 'b', 'hold($m, 40, hold_until => @5, effective_at => @2)', '60/0/40/0'),
	('a hold lapses by itself', 'c', 'redeem($m, 61, effective_at => @5 - interval ''1 microsecond'')', 'LY101'),
	('a hold lapses by itself', 'd', 'capture($m, {b}, effective_at => @5)', 'LY106'),
	('a hold lapses by itself', 'e', 'release($m, {b}, effective_at => @5)', 'LY106'),
	('a hold lapses by itself', 'f', 'redeem($m, 100, effective_at => @5)', '0/0/0/0'),
	('a hold lapses by itself', 'g', 'hold($m, 1, hold_until => @6, effective_at => @6)', 'LY106'),

	('refund to the very lot', 'a', 'earn($m, 10, effective_at => @1, expires_at => @5)', '10/0/0/0'),
	('refund to the very lot', 'b', 'earn($m, 10, effective_at => @1, expires_at => @20)', '20/0/0/0'),
	('refund to the very lot', 'c', 'redeem($m, 15, effective_at => @2)', '5/0/0/0'),
	('refund to the very lot', 'd', 'reverse($m, {c}, effective_at => @8)', '10/0/0/0'),
	('refund to the very lot', 'e', 'reverse($m, {c}, effective_at => @8)', 'LY105'),

	('refund with grace', 'a', 'earn($m, 10, currency => ''grace'', effective_at => @1, expires_at => @5)', '10/0/0/0'),
	('refund with grace', 'b', 'redeem($m, 10, currency => ''grace'', effective_at => @2)', '0/0/0/0'),
	('refund with grace', 'c', 'reverse($m, {b}, effective_at => @8)', '10/0/0/0'),
	('refund with grace', 'd', 'redeem($m, 1, currency => ''grace'', effective_at => @18)', 'LY101'),
	('refund with grace', 'e', 'redeem($m, 1, currency => ''grace'', effective_at => @17)', '9/0/0/0'),

	('partial refunds', 'a', 'earn($m, 10, effective_at => @1)', '10/0/0/0'),
	('partial refunds', 'b', 'redeem($m, 10, effective_at => @2)', '0/0/0/0'),
	('partial refunds', 'c', 'reverse($m, {b}, 4, effective_at => @3)', '4/0/0/0'),
	('partial refunds', 'd', 'reverse($m, {b}, 7, effective_at => @3)', 'LY105'),
	('partial refunds', 'e', 'reverse($m, {b}, effective_at => @3)', '10/0/0/0'),
	('partial refunds', 'f', 'reverse($m, {e}, effective_at => @3)', '4/0/0/0'),
	('partial refunds', 'g', 'reverse($m, {b}, 1, effective_at => @1)', 'LY003'),

	('clawback into debt', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('clawback into debt', 'b', 'redeem($m, 90, effective_at => @2)', '10/0/0/0'),
	('clawback into debt', 'c', 'earn($m, 20, effective_at => @3)', '30/0/0/0'),
	('clawback into debt', 'd', 'reverse($m, {a}, effective_at => @4)', '0/0/0/70'),
	('clawback into debt', 'e', 'redeem($m, 1, effective_at => @5)', 'LY101'),
	('clawback into debt', 'f', 'earn($m, 50, effective_at => @5)', '0/0/0/20'),
	('clawback into debt', 'g', 'earn($m, 50, effective_at => @6)', '30/0/0/0'),

	('clawback within the balance', 'a', 'earn($m, 100, currency => ''in_balance'', effective_at => @1)', '100/0/0/0'),
	('clawback within the balance', 'b', 'redeem($m, 90, currency => ''in_balance'', effective_at => @2)', '10/0/0/0'),
	('clawback within the balance', 'c', 'earn($m, 20, currency => ''in_balance'', effective_at => @3)', '30/0/0/0'),
	('clawback within the balance', 'd', 'reverse($m, {a}, effective_at => @4)', '0/0/0/0'),

	('clawback within the lot', 'a', 'earn($m, 100, currency => ''in_lot'', effective_at => @1)', '100/0/0/0'),
	('clawback within the lot', 'b', 'redeem($m, 90, currency => ''in_lot'', effective_at => @2)', '10/0/0/0'),
	('clawback within the lot', 'c', 'earn($m, 20, currency => ''in_lot'', effective_at => @3)', '30/0/0/0'),
	('clawback within the lot', 'd', 'reverse($m, {a}, effective_at => @4)', '20/0/0/0'),

	('clawback of the right lot', 'a', 'earn($m, 10, effective_at => @1, expires_at => @5)', '10/0/0/0'),
	('clawback of the right lot', 'b', 'earn($m, 10, effective_at => @1, expires_at => @20)', '20/0/0/0'),
	('clawback of the right lot', 'c', 'reverse($m, {b}, effective_at => @2)', '10/0/0/0'),
	('clawback of the right lot', 'd', 'redeem($m, 1, effective_at => @6)', 'LY101'),

	('clawback of what has expired', 'a', 'earn($m, 10, effective_at => @1, expires_at => @5)', '10/0/0/0'),
	('clawback of what has expired', 'b', 'earn($m, 10, effective_at => @1)', '20/0/0/0'),
	('clawback of what has expired', 'c', 'reverse($m, {a}, effective_at => @6)', '10/0/0/0'),

	('adjust', 'a', 'adjust($m, 10, ''welcome'', effective_at => @1, expires_at => @9)', '10/0/0/0'),
	('adjust', 'b', 'adjust($m, -11, ''mistake'', effective_at => @2)', 'LY101'),
	('adjust', 'c', 'adjust($m, -4, ''mistake'', effective_at => @2)', '6/0/0/0'),
	('adjust', 'd', 'reverse($m, {c}, effective_at => @3)', '10/0/0/0'),
	('adjust', 'e', 'reverse($m, {a}, 3, effective_at => @3)', '7/0/0/0'),
	('adjust', 'f', 'reverse($m, {a}, 8, effective_at => @3)', 'LY105'),

	('undone return', 'a', 'earn($m, 100, effective_at => @1, expires_at => @20)', '100/0/0/0'),
	('undone return', 'b', 'reverse($m, {a}, 40, effective_at => @2)', '60/0/0/0'),
	('undone return', 'c', 'reverse($m, {b}, 15, effective_at => @3)', '75/0/0/0'),
	('undone return', 'd', 'reverse($m, {b}, 26, effective_at => @3)', 'LY105'),
	('undone return', 'e', 'reverse($m, {b}, effective_at => @3)', '100/0/0/0'),
	('undone return', 'f', 'reverse($m, {b}, effective_at => @3)', 'LY105'),
	('undone return', 'g', 'reverse($m, {c}, effective_at => @3)', 'LY104'),
	('undone return', 'h', 'reverse($m, {b}, effective_at => @1)', 'LY003'),
	('undone return', 'i', 'reverse($m, {a}, effective_at => @4)', '0/0/0/0'),
	('undone return', 'j', 'reverse($m, {i}, effective_at => @5)', '100/0/0/0'),
	('undone return', 'k', 'redeem($m, 100, effective_at => @20)', 'LY101'),

	('undone return that made debt', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('undone return that made debt', 'b', 'redeem($m, 90, effective_at => @2)', '10/0/0/0'),
	('undone return that made debt', 'c', 'reverse($m, {a}, 50, effective_at => @3)', '0/0/0/40'),
	('undone return that made debt', 'd', 'reverse($m, {c}, 45, effective_at => @4)', '5/0/0/0'),
	('undone return that made debt', 'e', 'reverse($m, {c}, effective_at => @5)', '10/0/0/0'),

	('undone return, the debt repaid', 'a', 'earn($m, 100, effective_at => @1, expires_at => @20)', '100/0/0/0'),
	('undone return, the debt repaid', 'b', 'redeem($m, 100, effective_at => @2)', '0/0/0/0'),
	('undone return, the debt repaid', 'c', 'reverse($m, {a}, 50, effective_at => @3)', '0/0/0/50'),
	('undone return, the debt repaid', 'd', 'earn($m, 60, effective_at => @4)', '10/0/0/0'),
	('undone return, the debt repaid', 'e', 'reverse($m, {c}, effective_at => @5)', '60/0/0/0'),
	('undone return, the debt repaid', 'f', 'redeem($m, 11, effective_at => @20)', 'LY101'),
	('undone return, the debt repaid', 'g', 'redeem($m, 10, effective_at => @20)', '0/0/0/0'),

	('undone return of pending points', 'a', 'earn($m, 10, effective_at => @1, available_at => @9)', '0/10/0/0'),
	('undone return of pending points', 'b', 'reverse($m, {a}, effective_at => @2)', '0/0/0/0'),
	('undone return of pending points', 'c', 'reverse($m, {b}, effective_at => @3)', '0/10/0/0'),
	('undone return of pending points', 'd', 'redeem($m, 10, effective_at => @9)', '0/0/0/0'),

	('undone return within the lot', 'a', 'earn($m, 100, currency => ''in_lot'', effective_at => @1)', '100/0/0/0'),
	('undone return within the lot', 'b', 'redeem($m, 90, currency => ''in_lot'', effective_at => @2)', '10/0/0/0'),
	('undone return within the lot', 'c', 'reverse($m, {a}, 50, effective_at => @3)', '0/0/0/0'),
	('undone return within the lot', 'd', 'reverse($m, {c}, 39, effective_at => @4)', '0/0/0/0'),
	('undone return within the lot', 'e', 'reverse($m, {c}, 6, effective_at => @4)', '5/0/0/0'),
	('undone return within the lot', 'f', 'reverse($m, {c}, effective_at => @5)', '10/0/0/0'),
	('undone return within the lot', 'g', 'reverse($m, {a}, 100, effective_at => @6)', '0/0/0/0'),

	('undone return from other lots', 'a', 'earn($m, 10, effective_at => @1, expires_at => @20)', '10/0/0/0'),
	('undone return from other lots', 'b', 'earn($m, 10, effective_at => @1, expires_at => @9)', '20/0/0/0'),
	('undone return from other lots', 'c', 'redeem($m, 15, effective_at => @2)', '5/0/0/0'),
	('undone return from other lots', 'd', 'reverse($m, {b}, 5, effective_at => @3)', '0/0/0/0'),
	('undone return from other lots', 'e', 'reverse($m, {d}, effective_at => @4)', '5/0/0/0'),
	('undone return from other lots', 'f', 'redeem($m, 5, effective_at => @19)', '0/0/0/0'),

	('undone refund', 'a', 'earn($m, 40, effective_at => @1, expires_at => @9)', '40/0/0/0'),
	('undone refund', 'b', 'earn($m, 60, effective_at => @1, expires_at => @20)', '100/0/0/0'),
	('undone refund', 'c', 'redeem($m, 80, effective_at => @2)', '20/0/0/0'),
	('undone refund', 'd', 'reverse($m, {c}, 50, effective_at => @3)', '70/0/0/0'),
	('undone refund', 'e', 'reverse($m, {d}, 30, effective_at => @4)', '40/0/0/0'),
	('undone refund', 'f', 'reverse($m, {c}, 60, effective_at => @5)', '100/0/0/0'),
	('undone refund', 'g', 'reverse($m, {d}, 1, effective_at => @6)', 'LY114'),
	('undone refund', 'h', 'reverse($m, {f}, effective_at => @6)', '40/0/0/0'),
	('undone refund', 'i', 'reverse($m, {d}, effective_at => @6)', '20/0/0/0'),
	('undone refund', 'j', 'reverse($m, {c}, 81, effective_at => @7)', 'LY105'),
	('undone refund', 'k', 'reverse($m, {c}, effective_at => @7)', '100/0/0/0'),
	('undone refund', 'l', 'redeem($m, 61, effective_at => @9)', 'LY101'),
	('undone refund', 'm', 'redeem($m, 60, effective_at => @9)', '0/0/0/0'),

	('undone refund, spent meanwhile', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('undone refund, spent meanwhile', 'b', 'redeem($m, 80, effective_at => @2)', '20/0/0/0'),
	('undone refund, spent meanwhile', 'c', 'reverse($m, {b}, effective_at => @3)', '100/0/0/0'),
	('undone refund, spent meanwhile', 'd', 'redeem($m, 90, effective_at => @4)', '10/0/0/0'),
	('undone refund, spent meanwhile', 'e', 'reverse($m, {c}, effective_at => @5)', '0/0/0/70'),

	('undone refund within the balance', 'a', 'earn($m, 100, currency => ''in_balance'', effective_at => @1)', '100/0/0/0'),
	('undone refund within the balance', 'b', 'redeem($m, 80, currency => ''in_balance'', effective_at => @2)', '20/0/0/0'),
	('undone refund within the balance', 'c', 'reverse($m, {b}, effective_at => @3)', '100/0/0/0'),
	('undone refund within the balance', 'd', 'redeem($m, 90, currency => ''in_balance'', effective_at => @4)', '10/0/0/0'),
	('undone refund within the balance', 'e', 'reverse($m, {c}, effective_at => @5)', '0/0/0/0'),

	('late entries', 'a', 'earn($m, 10, effective_at => @1, expires_at => @5)', '10/0/0/0'),
	('late entries', 'b', 'earn($m, 10, effective_at => @6)', '10/0/0/0'),
	('late entries', 'c', 'redeem($m, 10, effective_at => @7)', '0/0/0/0'),
	('late entries', 'd', 'redeem($m, 10, effective_at => @4)', 'ok'),
	('late entries', 'e', 'redeem($m, 1, effective_at => @4)', 'LY101'),

	('sliding', 'a', 'earn($m, 10, currency => ''slide'', effective_at => @1)', '10/0/0/0'),
	('sliding', 'b', 'redeem($m, 1, currency => ''slide'', effective_at => @10)', '9/0/0/0'),
	('sliding', 'c', 'redeem($m, 1, currency => ''slide'', effective_at => @19)', '8/0/0/0'),
	('sliding', 'd', 'redeem($m, 1, currency => ''slide'', effective_at => @29)', 'LY101'),

	('keys', 'a', 'earn($m, 10, effective_at => @1, idempotency_key => ''k'')', '10/0/0/0'),
	('keys', 'b', 'earn($m, 10, effective_at => @1, idempotency_key => ''k'')', 'replayed {a}'),
	('keys', 'c', 'earn($m, 11, effective_at => @1, idempotency_key => ''k'')', 'LY004'),
	('keys', 'd', 'earn($m, 10, effective_at => @2, idempotency_key => ''k'')', 'LY004'),
	('keys', 'e', 'earn($m, 10, effective_at => @1, expires_at => @9, idempotency_key => ''k'')', 'LY004'),
	('keys', 'f', 'earn($m, 10, effective_at => @1, reference => ''r'', idempotency_key => ''k'')', 'LY004'),
	('keys', 'g', 'earn($m, 10, effective_at => @1, details => ''{}'', idempotency_key => ''k'')', 'LY004'),
	('keys', 'h', 'earn($m, 10, currency => ''oldest'', effective_at => @1, idempotency_key => ''k'')', '10/0/0/0'),
	('keys', 'o', 'earn($m, 10, currency => ''oldest'', effective_at => @1, idempotency_key => ''k'')', 'replayed {h}'),
	('keys', 'p', 'redeem($m, 10, currency => ''oldest'', effective_at => @1, idempotency_key => ''k'')', 'LY004'),
	('keys', 'i', 'redeem($m, 10, effective_at => @1, idempotency_key => ''k'')', 'LY004'),
	('keys', 'j', 'redeem($m, 10, effective_at => @2, idempotency_key => ''l'')', '0/0/0/0'),
	('keys', 'k', 'redeem($m, 10, effective_at => @2, idempotency_key => ''l'')', 'replayed {j}'),
	('keys', 'l', 'earn($m, 5, idempotency_key => ''now'')', 'ok'),
	('keys', 'm', 'earn($m, 5, idempotency_key => ''now'')', 'replayed {l}'),
	('keys', 'n', 'earn($m, 5, idempotency_key => '''')', 'LY003'),
	('another''s keys', 'a', 'earn($m, 11, effective_at => @1, idempotency_key => ''k'')', '11/0/0/0'),
	('another''s entries', 'a', 'earn($m, 11, effective_at => @1)', '11/0/0/0'),
	('another''s entries', 'b', 'reverse($m - 1, {a})', 'LY103'),
	('another''s entries', 'c', 'reverse($m, 999999999)', 'LY103'),
	('another''s entries', 'd', 'capture($m, 999999999)', 'LY103'),
	('another''s entries', 'e', 'release($m, 999999999)', 'LY103'),
	('another''s entries', 'f', 'activate($m, 999999999)', 'LY103'),

	('transfer', 'a', 'earn($m, 10, effective_at => @1, expires_at => @9)', '10/0/0/0'),
	('transfer', 'b', 'transfer($m, $m + 1000000, 11, effective_at => @2)', 'LY101'),
	('transfer', 'c', 'transfer($m, $m + 1000000, 4, effective_at => @2, idempotency_key => ''t'')', '6/0/0/0'),
	('transfer', 'd', 'transfer($m, $m + 1000000, 4, effective_at => @2, idempotency_key => ''t'')', 'replayed {c}'),
	('transfer', 'e', 'transfer($m, $m + 1000001, 4, effective_at => @2, idempotency_key => ''t'')', 'LY004'),
	('transfer', 'f', 'transfer($m, $m, 1, effective_at => @2)', 'LY112'),
	('transfer', 'g', 'reverse($m, {c}, effective_at => @2)', 'LY104'),
	('transfer', 'h', 'transfer($m + 1000000, $m, 4, effective_at => @3)', 'ok'),
	('transfer', 'i', 'redeem($m, 10, effective_at => @4)', '0/0/0/0'),

	('overflow', 'a', 'earn($m, 9223372036854775807, effective_at => @1)', '9223372036854775807/0/0/0'),
	('overflow', 'b', 'earn($m, 1, effective_at => @1)', 'LY109'),
	('overflow', 'c', 'adjust($m, 1, ''x'', effective_at => @1)', 'LY109'),
	('overflow', 'd', 'redeem($m, 9223372036854775807, effective_at => @1)', '0/0/0/0');

INSERT INTO step (story, name, call, outcome) VALUES
	-- what becomes available in a wallet that owes repays first, by whatever it becomes so
	('two returns, of the earn first', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('two returns, of the earn first', 'b', 'redeem($m, 100, effective_at => @2)', '0/0/0/0'),
	('two returns, of the earn first', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/0/100'),
	('two returns, of the earn first', 'd', 'reverse($m, {b}, effective_at => @4)', '0/0/0/0'),
	('two returns, of the earn first', 'e', 'redeem($m, 1, effective_at => @5)', 'LY101'),
	('two returns, of the redemption first', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('two returns, of the redemption first', 'b', 'redeem($m, 100, effective_at => @2)', '0/0/0/0'),
	('two returns, of the redemption first', 'c', 'reverse($m, {b}, effective_at => @3)', '100/0/0/0'),
	('two returns, of the redemption first', 'd', 'reverse($m, {a}, effective_at => @4)', '0/0/0/0'),
	('pending points while owing', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('pending points while owing', 'b', 'redeem($m, 100, effective_at => @2)', '0/0/0/0'),
	('pending points while owing', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/0/100'),
	('pending points while owing', 'd', 'earn($m, 130, effective_at => @4, available_at => @10)', '0/130/0/100'),
	('pending points while owing', 'e', 'earn($m, 1, effective_at => @10 - interval ''1 microsecond'')', '0/130/0/99'),
	('pending points while owing', 'f', 'hold($m, 32, hold_until => @20, effective_at => @10)', 'LY101'),
	('pending points while owing', 'g', 'hold($m, 31, hold_until => @20, effective_at => @10)', '0/0/31/0'),
	('by the clock alone', 'a', 'earn($m, 10, effective_at => @1)', '10/0/0/0'),
	('by the clock alone', 'b', 'redeem($m, 10, effective_at => @2)', '0/0/0/0'),
	('by the clock alone', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/0/10'),
	-- the first to become available repays, not the first to expire
	('by the clock alone', 'd', 'earn($m, 7, effective_at => @4, available_at => @10, expires_at => @30)', '0/7/0/10'),
	('by the clock alone', 'e', 'earn($m, 5, effective_at => @4, available_at => @12, expires_at => @20)', '0/12/0/10'),
	('by the clock alone', 'f', 'earn($m, 6, effective_at => @5, available_at => @9, expires_at => @9 + interval ''1 hour'')', '0/18/0/10'),
	('by the lapse of a hold', 'a', 'earn($m, 50, effective_at => @1)', '50/0/0/0'),
	('by the lapse of a hold', 'b', 'hold($m, 40, hold_until => @10, effective_at => @2)', '10/0/40/0'),
	('by the lapse of a hold', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/40/40'),
	('by a release', 'a', 'earn($m, 50, effective_at => @1)', '50/0/0/0'),
	('by a release', 'b', 'hold($m, 40, hold_until => @10, effective_at => @2)', '10/0/40/0'),
	('by a release', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/40/40'),
	('by a release', 'd', 'release($m, {b}, effective_at => @4)', '0/0/0/0'),
	('by what a capture leaves', 'a', 'earn($m, 50, effective_at => @1)', '50/0/0/0'),
	('by what a capture leaves', 'b', 'hold($m, 40, hold_until => @10, effective_at => @2)', '10/0/40/0'),
	('by what a capture leaves', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/40/40'),
	('by what a capture leaves', 'd', 'capture($m, {b}, 15, effective_at => @4)', '0/0/0/15'),
	('a hold that lapses after the expiry', 'a', 'earn($m, 50, effective_at => @1, expires_at => @8)', '50/0/0/0'),
	('a hold that lapses after the expiry', 'b', 'hold($m, 40, hold_until => @10, effective_at => @2)', '10/0/40/0'),
	('a hold that lapses after the expiry', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/40/40'),
	('a hold that lapses after the expiry', 'd', 'earn($m, 1, effective_at => @11)', '0/0/0/39'),
	('by an activation', 'a', 'earn($m, 20, effective_at => @1)', '20/0/0/0'),
	('by an activation', 'b', 'redeem($m, 20, effective_at => @2)', '0/0/0/0'),
	('by an activation', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/0/20'),
	('by an activation', 'd', 'earn($m, 15, effective_at => @4, pending => true)', '0/15/0/20'),
	('by an activation', 'e', 'activate($m, {d}, effective_at => @5)', '0/0/0/5'),
	('by a transfer', 'a', 'earn($m, 20, effective_at => @1)', '20/0/0/0'),
	('by a transfer', 'b', 'redeem($m, 20, effective_at => @2)', '0/0/0/0'),
	('by a transfer', 'c', 'reverse($m, {a}, effective_at => @3)', '0/0/0/20'),
	('by a transfer', 'd', 'earn($m + 1000000, 30, effective_at => @4)', '30/0/0/0'),
	('by a transfer', 'e', 'transfer($m + 1000000, $m, 30, effective_at => @5)', '0/0/0/0'),
	('by a transfer', 'f', 'redeem($m, 11, effective_at => @6)', 'LY101'),
	('by a transfer', 'g', 'redeem($m, 10, effective_at => @6)', '0/0/0/0'),
	-- a late return: as of its day and of later ones; what came since repays what it owes
	('a late return', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('a late return', 'b', 'redeem($m, 100, effective_at => @20)', '0/0/0/0'),
	('a late return', 'c', 'earn($m, 60, effective_at => @15)', '160/0/0/0'),
	('a late return', 'd', 'reverse($m, {a}, effective_at => @10)', '0/0/0/0'),
	('a late return', 'e', 'earn($m, 1, effective_at => @21)', '0/0/0/39'),
	-- what came since repays what the late return owes, and nothing that was owed only when it had expired
	('a late return and a later debt', 'a', 'earn($m, 10, effective_at => @1)', '10/0/0/0'),
	('a late return and a later debt', 'b', 'redeem($m, 10, effective_at => @2)', '0/0/0/0'),
	('a late return and a later debt', 'c', 'earn($m, 6, effective_at => @5, expires_at => @6)', '6/0/0/0'),
	('a late return and a later debt', 'd', 'earn($m, 20, effective_at => @5, expires_at => @6)', '26/0/0/0'),
	('a late return and a later debt', 'e', 'earn($m, 5, effective_at => @7)', '5/0/0/0'),
	('a late return and a later debt', 'f', 'redeem($m, 5, effective_at => @8)', '0/0/0/0'),
	('a late return and a later debt', 'g', 'reverse($m, {e}, effective_at => @9)', '0/0/0/5'),
	('a late return and a later debt', 'h', 'reverse($m, {a}, effective_at => @4)', '0/0/0/10'),
	('a late return and a later debt', 'i', 'earn($m, 1, effective_at => @10)', '0/0/0/4'),
	('a late earn', 'a', 'earn($m, 10, effective_at => @1)', '10/0/0/0'),
	('a late earn', 'b', 'redeem($m, 10, effective_at => @2)', '0/0/0/0'),
	('a late earn', 'c', 'reverse($m, {a}, effective_at => @5)', '0/0/0/10'),
	('a late earn', 'd', 'earn($m, 4, effective_at => @3)', '4/0/0/0'),
	('a late earn', 'e', 'earn($m, 4, effective_at => @3, available_at => @9)', '4/4/0/0'),

	-- the life of points that wait begins when they become available
	('life of points that wait for a date', 'a', 'earn($m, 10, ''roll'', effective_at => @1, available_at => @20)', '0/10/0/0'),
	('life of points that wait for a date', 'b', 'redeem($m, 1, ''roll'', effective_at => @20)', '9/0/0/0'),
	('life of points that wait for a date', 'c', 'redeem($m, 1, ''roll'', effective_at => @30)', 'LY101'),
	('life of points that wait for a date', 'd', 'redeem($m, 1, ''roll'', effective_at => @30 - interval ''1 microsecond'')', '8/0/0/0'),
	('life of points that wait for an event', 'a', 'earn($m, 10, ''roll'', effective_at => @1, pending => true)', '0/10/0/0'),
	('life of points that wait for an event', 'b', 'activate($m, {a}, effective_at => @20)', '10/0/0/0'),
	('life of points that wait for an event', 'c', 'redeem($m, 1, ''roll'', effective_at => @30)', 'LY101'),
	('life of points that wait for an event', 'd', 'redeem($m, 1, ''roll'', effective_at => @30 - interval ''1 microsecond'')', '9/0/0/0'),
	('life of points that are activated early', 'a', 'earn($m, 10, ''roll'', effective_at => @1, available_at => @20)', '0/10/0/0'),
	('life of points that are activated early', 'b', 'activate($m, {a}, effective_at => @3)', '10/0/0/0'),
	('life of points that are activated early', 'c', 'redeem($m, 1, ''roll'', effective_at => @13)', 'LY101'),
	('life of points that are activated early', 'd', 'redeem($m, 1, ''roll'', effective_at => @13 - interval ''1 microsecond'')', '9/0/0/0'),
	('an end that was given to points that wait', 'a', 'earn($m, 10, ''roll'', effective_at => @1, expires_at => @8, pending => true)', '0/10/0/0'),
	('an end that was given to points that wait', 'b', 'activate($m, {a}, effective_at => @5)', '10/0/0/0'),
	('an end that was given to points that wait', 'c', 'redeem($m, 1, ''roll'', effective_at => @8)', 'LY101'),
	('an end that was given to points that wait', 'd', 'redeem($m, 1, ''roll'', effective_at => @8 - interval ''1 microsecond'')', '9/0/0/0'),
	('life counted from the earn', 'a', 'earn($m, 10, ''roll_earned'', effective_at => @1, pending => true)', '0/10/0/0'),
	('life counted from the earn', 'b', 'activate($m, {a}, effective_at => @5)', '10/0/0/0'),
	('life counted from the earn', 'c', 'redeem($m, 1, ''roll_earned'', effective_at => @11)', 'LY101'),
	('life counted from the earn', 'd', 'redeem($m, 1, ''roll_earned'', effective_at => @11 - interval ''1 microsecond'')', '9/0/0/0'),
	('life counted from the earn', 'e', 'earn($m, 10, ''roll_earned'', effective_at => @1, available_at => @20)', 'LY003'),

	-- activity moves a given end no further than that
	('a given end is near', 'a', 'earn($m, 10, ''slide'', effective_at => @1, expires_at => @4)', '10/0/0/0'),
	('a given end is near', 'b', 'earn($m, 1, ''slide'', effective_at => @3)', '11/0/0/0'),
	('a given end is near', 'c', 'redeem($m, 2, ''slide'', effective_at => @4)', 'LY101'),
	('a given end is near', 'd', 'redeem($m, 1, ''slide'', effective_at => @4)', '0/0/0/0'),
	('a given end is far', 'a', 'earn($m, 10, ''slide'', effective_at => @1, expires_at => @25)', '10/0/0/0'),
	('a given end is far', 'b', 'redeem($m, 1, ''slide'', effective_at => @10)', '9/0/0/0'),
	('a given end is far', 'c', 'redeem($m, 1, ''slide'', effective_at => @19)', '8/0/0/0'),
	('a given end is far', 'd', 'redeem($m, 1, ''slide'', effective_at => @25)', 'LY101'),
	('a given end is far', 'e', 'redeem($m, 1, ''slide'', effective_at => @25 - interval ''1 microsecond'')', '7/0/0/0'),
	('a given end is far, and nothing happens', 'a', 'earn($m, 10, ''slide'', effective_at => @1, expires_at => @25)', '10/0/0/0'),
	('a given end is far, and nothing happens', 'b', 'redeem($m, 1, ''slide'', effective_at => @11)', 'LY101'),

	-- what was undone is no activity
	('a returned purchase', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a returned purchase', 'b', 'earn($m, 1, ''slide'', effective_at => @10)', '101/0/0/0'),
	('a returned purchase', 'c', 'reverse($m, {b}, effective_at => @10)', '100/0/0/0'),
	('a returned purchase', 'd', 'redeem($m, 1, ''slide'', effective_at => @11)', 'LY101'),
	('a cancelled redemption', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a cancelled redemption', 'b', 'redeem($m, 1, ''slide'', effective_at => @10)', '99/0/0/0'),
	('a cancelled redemption', 'c', 'reverse($m, {b}, effective_at => @10)', '100/0/0/0'),
	('a cancelled redemption', 'd', 'redeem($m, 1, ''slide'', effective_at => @11)', 'LY101'),
	-- one that happened while points lived by another that was undone since keeps nothing alive either
	('a purchase returned bit by bit', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a purchase returned bit by bit', 'b', 'earn($m, 2, ''slide'', effective_at => @10)', '102/0/0/0'),
	('a purchase returned bit by bit', 'c', 'reverse($m, {b}, 1, effective_at => @10)', '101/0/0/0'),
	('a purchase returned bit by bit', 'd', 'redeem($m, 1, ''slide'', effective_at => @11)', '100/0/0/0'),
	('a purchase returned bit by bit', 'e', 'reverse($m, {b}, 1, effective_at => @12)', '0/0/0/0'),
	('an activity undone after what it prolonged', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('an activity undone after what it prolonged', 'b', 'earn($m, 1, ''slide'', effective_at => @10)', '101/0/0/0'),
	('an activity undone after what it prolonged', 'c', 'reverse($m, {b}, effective_at => @15)', '0/0/0/0'),
	('other activities remain', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('other activities remain', 'b', 'redeem($m, 1, ''slide'', effective_at => @5)', '99/0/0/0'),
	('other activities remain', 'c', 'earn($m, 1, ''slide'', effective_at => @10)', '100/0/0/0'),
	('other activities remain', 'd', 'reverse($m, {c}, effective_at => @11)', '99/0/0/0'),
	('other activities remain', 'e', 'hold($m, 1, hold_until => @30, currency => ''slide'', effective_at => @15)', 'LY101'),
	('other activities remain', 'f', 'hold($m, 99, hold_until => @30, currency => ''slide'', effective_at => @15 - interval ''1 microsecond'')', '0/0/99/0'),
	('a return that was a mistake', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a return that was a mistake', 'b', 'earn($m, 1, ''slide'', effective_at => @10)', '101/0/0/0'),
	('a return that was a mistake', 'c', 'reverse($m, {b}, effective_at => @12)', '0/0/0/0'),
	('a return that was a mistake', 'd', 'reverse($m, {c}, effective_at => @13)', '101/0/0/0'),
	('a return that was a mistake', 'e', 'redeem($m, 1, ''slide'', effective_at => @19)', '100/0/0/0'),

	-- what lives again repays what is owed by then
	('a mistaken return while owing', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a mistaken return while owing', 'b', 'earn($m, 1, ''slide'', effective_at => @10)', '101/0/0/0'),
	('a mistaken return while owing', 'c', 'reverse($m, {b}, effective_at => @12)', '0/0/0/0'),
	('a mistaken return while owing', 'd', 'earn($m, 5, ''slide'', effective_at => @13)', '5/0/0/0'),
	('a mistaken return while owing', 'e', 'redeem($m, 5, ''slide'', effective_at => @13)', '0/0/0/0'),
	('a mistaken return while owing', 'f', 'reverse($m, {d}, effective_at => @13)', '0/0/0/5'),
	('a mistaken return while owing', 'g', 'reverse($m, {c}, effective_at => @14)', '96/0/0/0'),
	('a late undoing of a return', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a late undoing of a return', 'b', 'earn($m, 1, ''slide'', effective_at => @10)', '101/0/0/0'),
	('a late undoing of a return', 'c', 'reverse($m, {b}, effective_at => @10)', '100/0/0/0'),
	('a late undoing of a return', 'd', 'earn($m, 1, ''slide'', effective_at => @25)', '1/0/0/0'),
	('a late undoing of a return', 'e', 'reverse($m, {c}, effective_at => @10)', '101/0/0/0'),
	('a late undoing of a return', 'f', 'earn($m, 1, ''slide'', effective_at => @15)', '102/0/0/0'),

	-- what comes back lives as if it had stayed in its lot
	('a refund after another activity', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a refund after another activity', 'b', 'redeem($m, 60, ''slide'', effective_at => @2)', '40/0/0/0'),
	('a refund after another activity', 'c', 'earn($m, 1, ''slide'', effective_at => @10)', '41/0/0/0'),
	('a refund after another activity', 'd', 'reverse($m, {b}, effective_at => @15)', '101/0/0/0'),
	('a refund after another activity', 'e', 'redeem($m, 1, ''slide'', effective_at => @20)', 'LY101'),
	('a refund after another activity', 'f', 'redeem($m, 101, ''slide'', effective_at => @20 - interval ''1 microsecond'')', '0/0/0/0'),
	('a refund of part of an activity', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a refund of part of an activity', 'b', 'redeem($m, 60, ''slide'', effective_at => @5)', '40/0/0/0'),
	('a refund of part of an activity', 'c', 'reverse($m, {b}, 20, effective_at => @6)', '60/0/0/0'),
	('a refund of part of an activity', 'd', 'redeem($m, 60, ''slide'', effective_at => @14)', '0/0/0/0'),
	('a refund of part, and an activity since', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a refund of part, and an activity since', 'b', 'redeem($m, 60, ''slide'', effective_at => @5)', '40/0/0/0'),
	('a refund of part, and an activity since', 'c', 'earn($m, 1, ''slide'', effective_at => @10)', '41/0/0/0'),
	('a refund of part, and an activity since', 'd', 'reverse($m, {b}, 20, effective_at => @12)', '61/0/0/0'),
	('a refund of part, and an activity since', 'e', 'redeem($m, 61, ''slide'', effective_at => @19)', '0/0/0/0'),
	('a refund of what lived by an undone activity', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a refund of what lived by an undone activity', 'b', 'earn($m, 1, ''slide'', effective_at => @10)', '101/0/0/0'),
	('a refund of what lived by an undone activity', 'c', 'adjust($m, -50, ''test'', ''slide'', effective_at => @10)', '51/0/0/0'),
	('a refund of what lived by an undone activity', 'd', 'reverse($m, {b}, effective_at => @10)', '50/0/0/0'),
	('a refund of what lived by an undone activity', 'e', 'reverse($m, {c}, effective_at => @12)', '0/0/0/0'),
	('a mistaken return, and an activity since', 'a', 'earn($m, 100, ''slide'', effective_at => @1)', '100/0/0/0'),
	('a mistaken return, and an activity since', 'b', 'reverse($m, {a}, 40, effective_at => @5)', '60/0/0/0'),
	('a mistaken return, and an activity since', 'c', 'earn($m, 1, ''slide'', effective_at => @10)', '61/0/0/0'),
	('a mistaken return, and an activity since', 'd', 'reverse($m, {b}, effective_at => @15)', '101/0/0/0'),
	('a mistaken return, and an activity since', 'e', 'redeem($m, 101, ''slide'', effective_at => @19)', '0/0/0/0'),
	('a refund below a given end', 'a', 'earn($m, 100, ''slide'', effective_at => @1, expires_at => @14)', '100/0/0/0'),
	('a refund below a given end', 'b', 'redeem($m, 60, ''slide'', effective_at => @2)', '40/0/0/0'),
	('a refund below a given end', 'c', 'earn($m, 1, ''slide'', effective_at => @10)', '41/0/0/0'),
	('a refund below a given end', 'd', 'reverse($m, {b}, effective_at => @13)', '101/0/0/0'),
	('a refund below a given end', 'e', 'redeem($m, 2, ''slide'', effective_at => @14)', 'LY101'),
	('grace is not prolonged by what was before', 'a', 'earn($m, 10, ''slide_grace'', effective_at => @1)', '10/0/0/0'),
	('grace is not prolonged by what was before', 'b', 'redeem($m, 10, ''slide_grace'', effective_at => @2)', '0/0/0/0'),
	('grace is not prolonged by what was before', 'c', 'earn($m, 1, ''slide_grace'', effective_at => @12)', '1/0/0/0'),
	('grace is not prolonged by what was before', 'd', 'reverse($m, {b}, effective_at => @13)', '11/0/0/0'),
	('grace is not prolonged by what was before', 'e', 'redeem($m, 11, ''slide_grace'', effective_at => @14)', '0/0/0/0'),
	('grace is not prolonged by what was before', 'f', 'reverse($m, {e}, effective_at => @15)', '11/0/0/0'),
	('grace is not prolonged by what was before', 'g', 'redeem($m, 2, ''slide_grace'', effective_at => @16)', 'LY101'),

	-- as of the 17th, what a late return took repays, and a late hold finds less: see the statement below
	('a late return, then a late hold', 'a', 'earn($m, 9, ''in_lot'', effective_at => @16)', '9/0/0/0'),
	('a late return, then a late hold', 'b', 'redeem($m, 6, ''in_lot'', effective_at => @17)', '3/0/0/0'),
	('a late return, then a late hold', 'c', 'reverse($m, {b}, effective_at => @22)', '9/0/0/0'),
	('a late return, then a late hold', 'd', 'earn($m, 6, ''in_lot'', effective_at => @3)', 'ok'),
	('a late return, then a late hold', 'e', 'reverse($m, {a}, effective_at => @16)', 'ok'),
	('a late return, then a late hold', 'f', 'hold($m, 2, hold_until => @15, currency => ''in_lot'', effective_at => @5)', 'ok'),
	('a late return, then a late capture', 'a', 'earn($m, 9, ''in_lot'', effective_at => @16)', '9/0/0/0'),
	('a late return, then a late capture', 'b', 'redeem($m, 6, ''in_lot'', effective_at => @17)', '3/0/0/0'),
	('a late return, then a late capture', 'c', 'reverse($m, {b}, effective_at => @22)', '9/0/0/0'),
	('a late return, then a late capture', 'd', 'earn($m, 6, ''in_lot'', effective_at => @3)', 'ok'),
	('a late return, then a late capture', 'e', 'reverse($m, {a}, effective_at => @16)', 'ok'),
	('a late return, then a late capture', 'f', 'hold($m, 4, hold_until => @15, currency => ''in_lot'', effective_at => @5)', 'ok'),
	('a late return, then a late capture', 'g', 'capture($m, {f}, 3, effective_at => @6)', 'ok'),
	('a late return, then a late capture of some', 'a', 'earn($m, 9, ''in_lot'', effective_at => @16)', '9/0/0/0'),
	('a late return, then a late capture of some', 'b', 'redeem($m, 6, ''in_lot'', effective_at => @17)', '3/0/0/0'),
	('a late return, then a late capture of some', 'c', 'reverse($m, {b}, effective_at => @22)', '9/0/0/0'),
	('a late return, then a late capture of some', 'd', 'earn($m, 8, ''in_lot'', effective_at => @3)', 'ok'),
	('a late return, then a late capture of some', 'e', 'reverse($m, {a}, effective_at => @16)', 'ok'),
	('a late return, then a late capture of some', 'f', 'hold($m, 4, hold_until => @15, currency => ''in_lot'', effective_at => @5)', 'ok'),
	('a late return, then a late capture of some', 'g', 'capture($m, {f}, 3, effective_at => @6)', 'ok'),

	('grace is for what has expired', 'a', 'earn($m, 10, currency => ''grace'', effective_at => @1, expires_at => @20)', '10/0/0/0'),
	('grace is for what has expired', 'b', 'redeem($m, 10, currency => ''grace'', effective_at => @2)', '0/0/0/0'),
	('grace is for what has expired', 'c', 'reverse($m, {b}, 5, effective_at => @20 - interval ''1 microsecond'')', '5/0/0/0'),
	('grace is for what has expired', 'd', 'reverse($m, {b}, 4, effective_at => @20)', '4/0/0/0'),
	('grace is for what has expired', 'e', 'redeem($m, 4, currency => ''grace'', effective_at => @30 - interval ''1 microsecond'')', '0/0/0/0'),

	-- a hold of which nothing is left says so for ever
	('a captured hold', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('a captured hold', 'b', 'hold($m, 60, hold_until => @5, effective_at => @2)', '40/0/60/0'),
	('a captured hold', 'c', 'capture($m, {b}, 60, effective_at => @3)', '40/0/0/0'),
	('a captured hold', 'd', 'capture($m, {b}, effective_at => @4)', 'LY107'),
	('a captured hold', 'e', 'capture($m, {b}, effective_at => @6)', 'LY107'),
	('a captured hold', 'f', 'release($m, {b}, effective_at => @6)', 'LY107'),
	('a captured hold', 'g', 'reverse($m, {c}, effective_at => @6)', '100/0/0/0'),
	('a captured hold', 'h', 'capture($m, {b}, effective_at => @7)', 'LY107'),
	('a released hold', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('a released hold', 'b', 'hold($m, 60, hold_until => @5, effective_at => @2)', '40/0/60/0'),
	('a released hold', 'c', 'release($m, {b}, effective_at => @3)', '100/0/0/0'),
	('a released hold', 'd', 'capture($m, {b}, effective_at => @6)', 'LY107'),
	('a lapsed hold, its points spent', 'a', 'earn($m, 100, effective_at => @1)', '100/0/0/0'),
	('a lapsed hold, its points spent', 'b', 'hold($m, 60, hold_until => @5, effective_at => @2)', '40/0/60/0'),
	('a lapsed hold, its points spent', 'c', 'redeem($m, 100, effective_at => @6)', '0/0/0/0'),
	('a lapsed hold, its points spent', 'd', 'capture($m, {b}, effective_at => @7)', 'LY106');

-- Refused whatever the balance.
INSERT INTO step (story, call, outcome)
SELECT 'arguments', c, s FROM (VALUES
	('earn($m, 0)', 'LY003'), ('earn($m, -1)', 'LY003'), ('earn($m, NULL)', 'LY003'), ('earn(NULL, 1)', 'LY003'),
	('earn($m, 1, currency => NULL)', 'LY003'), ('earn($m, 1, currency => ''none_such'')', 'LY102'),
	('earn($m, 1, currency => repeat(''x'', 100))', 'LY102'), ('earn($m, 1, currency => '''')', 'LY102'),
	('earn($m, 1, effective_at => NULL)', 'LY003'),
	('earn($m, 12.5)', 'LY003'), ('earn($m, ''NaN'')', 'LY003'), ('earn($m, ''Infinity'')', 'LY003'), ('earn($m, 9223372036854775808)', 'LY003'),
	('redeem($m, 0.1)', 'LY003'), ('hold($m, 1e-9, ''2999-01-01'')', 'LY003'), ('adjust($m, -1.5, ''x'')', 'LY003'), ('adjust($m, -9223372036854775809, ''x'')', 'LY003'),
	('transfer($m, 1, 2.5)', 'LY003'), ('capture(1, {first}, 0.5)', 'LY003'), ('reverse(1, {first}, 1e30)', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''earn''], ARRAY[1.5])', 'LY003'),
	('earn($m, 1, effective_at => ''infinity'')', 'LY003'), ('earn($m, 1, effective_at => ''-infinity'')', 'LY003'),
	('earn($m, 1, effective_at => ''1815-06-18'')', 'LY003'), ('earn($m, 1, effective_at => ''0044-03-15 BC'')', 'LY003'),
	('earn($m, 1, effective_at => ''9999-01-01'')', 'LY003'), ('earn($m, 1, effective_at => now() + interval ''1 day'')', 'LY003'),
	('earn($m, 1, available_at => ''-infinity'')', 'LY003'), ('earn($m, 1, available_at => ''infinity'')', 'LY003'),
	('earn($m, 1, available_at => ''2999-01-01'', pending => true)', 'LY003'), ('earn($m, 1, available_at => ''2000-01-01'')', 'LY003'),
	('earn($m, 1, available_at => ''12000-01-01'')', 'LY003'),
	('earn($m, 1, expires_at => ''-infinity'')', 'LY003'), ('earn($m, 1, expires_at => ''2000-01-01'')', 'LY003'),
	('earn($m, 1, expires_at => ''12000-01-01'')', 'LY003'),
	('earn($m, 1, effective_at => @1, expires_at => @1)', 'LY003'),
	('earn($m, 1, effective_at => @1, available_at => @5, expires_at => @5)', 'LY003'),
	('redeem($m, 0)', 'LY003'), ('redeem($m, -5)', 'LY003'), ('redeem($m, NULL)', 'LY003'), ('redeem($m, 1, currency => ''none_such'')', 'LY102'),
	('redeem($m, 1, effective_at => ''infinity'')', 'LY003'),
	('hold($m, 0, hold_until => ''2999-01-01'')', 'LY003'), ('hold($m, 1, hold_until => NULL)', 'LY003'),
	('hold($m, 1, hold_until => ''infinity'')', 'LY003'), ('hold($m, 1, hold_until => ''-infinity'')', 'LY003'),
	('hold($m, 1, hold_until => ''12000-01-01'')', 'LY003'), ('hold($m, 1, hold_until => ''2999-01-01'', currency => ''none_such'')', 'LY102'),
	('capture($m, NULL)', 'LY003'), ('capture(1, {first}, 0)', 'LY003'), ('capture(1, {first}, -1)', 'LY003'),
	('release($m, NULL)', 'LY003'), ('activate($m, NULL)', 'LY003'), ('reverse($m, NULL)', 'LY003'),
	('reverse(1, {first}, 0)', 'LY003'), ('reverse(1, {first}, -1)', 'LY003'),
	('reverse(1, {first}, effective_at => NULL)', 'LY003'), ('reverse(1, {first}, effective_at => ''infinity'')', 'LY003'),
	('adjust($m, 0, ''x'')', 'LY003'), ('adjust($m, NULL, ''x'')', 'LY003'), ('adjust($m, 1, NULL)', 'LY003'),
	('adjust($m, (-9223372036854775808)::bigint, ''x'')', 'LY003'),
	('transfer($m, NULL, 1)', 'LY003'), ('transfer($m, 999999, 0)', 'LY003'), ('transfer($m, 999999, -1)', 'LY003'), ('transfer($m, 999999, 1, currency => ''none_such'')', 'LY102'),
	('post_many(ARRAY[$m, $m], ARRAY[''earn''], ARRAY[1, 2])', 'LY003'), ('post_many(NULL, ARRAY[''earn''], ARRAY[1])', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''steal''], ARRAY[1])', 'LY104'), ('post_many(ARRAY[$m], ARRAY[''transfer_in''], ARRAY[1])', 'LY104'),
	('adjust($m, 1, '''')', 'LY003'), ('adjust($m, -1, ''x'', pending => true)', 'LY003'), ('adjust($m, -1, ''x'', expires_at => ''2999-01-01'')', 'LY003'),
	('earn($m, 1, idempotency_key => repeat(''k'', 2001))', 'LY003'), ('earn($m, 1, idempotency_key => repeat(''k'', 1048576))', 'LY003'),
	('redeem($m, 1, idempotency_key => repeat(''k'', 1048576))', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''earn''], ARRAY[1], idempotency_keys => ARRAY[''''])', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''earn''], ARRAY[NULL::bigint])', 'LY003'), ('post_many(ARRAY[$m], ARRAY[''EARN''], ARRAY[1])', 'LY104'),
	('post_many(ARRAY[$m], ARRAY[''adjust''], ARRAY[1])', 'LY003'), ('post_many(ARRAY[$m], ARRAY[''hold''], ARRAY[1])', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''earn''], ARRAY[1], hold_untils => ARRAY[timestamptz ''2999-01-01''])', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''redeem''], ARRAY[1], pending => ARRAY[true])', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''redeem''], ARRAY[1], expires_ats => ARRAY[timestamptz ''2999-01-01''])', 'LY003'),
	('post_many(ARRAY[1::bigint], ARRAY[''earn''], ARRAY[1], target_entry_ids => ARRAY[{first}])', 'LY003'),
	('post_many(ARRAY[1::bigint], ARRAY[''reverse''], ARRAY[1])', 'LY003'),
	('post_many(ARRAY[1::bigint], ARRAY[''reverse''], ARRAY[0], target_entry_ids => ARRAY[{first}])', 'LY003'),
	('post_many(ARRAY[1::bigint], ARRAY[''activate''], ARRAY[1], target_entry_ids => ARRAY[{first}])', 'LY003'),
	('post_many(ARRAY[1::bigint], ARRAY[''release''], ARRAY[1], target_entry_ids => ARRAY[{first}])', 'LY003'),
	('post_many(ARRAY[1::bigint], ARRAY[''reverse''], ARRAY[1], ARRAY[''oldest''], target_entry_ids => ARRAY[{first}])', 'LY003'),
	('post_many(ARRAY[1::bigint], ARRAY[''reverse''], ARRAY[1], expires_ats => ARRAY[timestamptz ''2999-01-01''], target_entry_ids => ARRAY[{first}])', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''earn''], ARRAY[0])', 'LY003'), ('post_many(ARRAY[NULL::bigint], ARRAY[''earn''], ARRAY[1])', 'LY003'),
	('post_many(ARRAY[$m], ARRAY[''earn''], ARRAY[1], currencies => ARRAY[''none_such''])', 'LY102')) v(c, s);

CREATE FUNCTION run_step(s step) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	member bigint := 1000 + (SELECT min(n) FROM step WHERE story = s.story);
	call text := replace(s.call, '$m', member::text);
	entry record;
	posted record;
	day text;
	result text;
BEGIN
	FOR entry IN SELECT * FROM entry_name e WHERE e.story = s.story OR e.story = '' LOOP
		call := replace(call, '{' || entry.name || '}', entry.entry_id::text);
	END LOOP;
	day := (regexp_match(call, 'effective_at => (@\d+)'))[1];
	call := regexp_replace(call, '@(\d+)', 'timestamptz ''2024-01-01'' + interval ''1 day'' * (\1 - 1)', 'g');
	BEGIN
		EXECUTE 'SELECT entry_id, available, replayed FROM loyalty.' || call INTO posted;
	EXCEPTION WHEN OTHERS THEN
		IF SQLERRM = '' OR SQLSTATE LIKE 'LY%' AND position(E'\n' IN SQLERRM) > 0 THEN
			RETURN SQLSTATE || ' without a proper message';
		END IF;
		RETURN SQLSTATE;
	END;
	IF posted.replayed THEN
		RETURN 'replayed ' || (SELECT '{' || e.name || '}' FROM entry_name e WHERE e.story = s.story AND e.entry_id = posted.entry_id);
	END IF;
	INSERT INTO entry_name VALUES (s.story, s.name, posted.entry_id);
	IF s.outcome = 'ok' THEN
		RETURN 'ok';
	END IF;
	SELECT concat_ws('/', b.available, b.pending, b.held, b.debt) INTO result
	FROM loyalty.ledger l,
		LATERAL loyalty.balance(l.member_id, l.currency, as_of => l.effective_at) b
	WHERE l.entry_id = posted.entry_id;
	RETURN result;
END
$$;
CREATE TEMP TABLE entry_name (story text, name text, entry_id bigint);
INSERT INTO entry_name SELECT '', 'first', entry_id FROM loyalty.earn(1, 1);

SELECT is(run_step(s), s.outcome, s.story || ': ' || s.call) FROM step s ORDER BY n;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() finds nothing after all of it');

-- The same stories, read as of other days: available/pending/held/debt/expired
CREATE TEMP TABLE reading (story text, day text, outcome text);
INSERT INTO reading VALUES
	('by the clock alone', '9', '0/12/0/4/0'),
	('by the clock alone', '10', '3/5/0/0/0'),
	('by the clock alone', '12', '8/0/0/0/0'),
	('by the clock alone', '20', '3/0/0/0/5'),
	('by the lapse of a hold', '9', '0/0/40/40/0'),
	('by the lapse of a hold', '10', '0/0/0/0/0'),
	('a hold that lapses after the expiry', '10', '0/0/0/40/40'),
	('pending points while owing', '20', '31/0/0/0/0'),
	('a late return', '9', '100/0/0/0/0'),
	('a late return', '12', '0/0/0/0/0'),
	('a late return', '15', '60/0/0/0/0'),
	('a late return', '20', '0/0/0/40/0'),
	('a late earn', '5', '0/4/0/6/0'),
	('a late earn', '9', '0/0/0/2/0'),
	('an activity undone after what it prolonged', '14', '101/0/0/0/0'),
	('an activity undone after what it prolonged', '15', '0/0/0/0/100'),
	('a return that was a mistake', '12', '0/0/0/0/100');
CREATE FUNCTION pg_temp.member_of(story text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT 1000 + min(n) FROM step s WHERE s.story = $1 $$;
SELECT is((SELECT concat_ws('/', b.available, b.pending, b.held, b.debt, b.expired)
		FROM loyalty.wallet w, loyalty.balance(w.member_id, w.currency, as_of => timestamptz '2024-01-01' + (day::int - 1) * interval '1 day') b
		WHERE w.member_id = pg_temp.member_of(story)),
	outcome, format('%s: on day %s', story, day)) FROM reading ORDER BY story, day::int;

-- Whatever reads the past says the same.
SELECT is_empty($$
	SELECT s.* FROM (SELECT DISTINCT ON (w.member_id, w.currency, s.effective_at) w.member_id, w.currency, s.effective_at, s.entry_id, s.available
		FROM loyalty.wallet w, loyalty.statement(w.member_id, w.currency) s
		ORDER BY w.member_id, w.currency, s.effective_at, s.entry_id DESC) s
	WHERE s.available <> (SELECT available FROM loyalty.balance(s.member_id, s.currency, as_of => s.effective_at))
		OR s.available <> (SELECT coalesce(sum(points), 0) FROM loyalty.lots(s.member_id, s.currency, as_of => s.effective_at) WHERE state = 'available')
	$$, 'the statement has what balance() and lots() say as of each entry');
SELECT results_eq(format('SELECT kind, available FROM loyalty.statement(%s)', pg_temp.member_of('a late return')),
	$$VALUES ('earn', 100::bigint), ('reverse', 0), ('earn', 60), ('redeem', 0), ('earn', 0)$$, 'the statement of a late return, by its instants');
SELECT results_eq(format($$SELECT s, b.available, b.held, b.debt FROM (VALUES ('hold', %s), ('capture', %s), ('capture of some', %s)) v (s, m), loyalty.balance(m, 'in_lot', as_of => '2024-01-17') b$$,
		pg_temp.member_of('a late return, then a late hold'), pg_temp.member_of('a late return, then a late capture'), pg_temp.member_of('a late return, then a late capture of some')),
	$$VALUES ('hold', 0::bigint, 0::bigint, 0::bigint), ('capture', 0, 0, 3), ('capture of some', 0, 0, 1)$$, 'as of an instant when a hold finds less than it set aside');
SELECT results_eq(format('SELECT expires_at FROM loyalty.lots(%s, ''roll'', as_of => ''2024-01-21'')', pg_temp.member_of('life of points that wait for an event')),
	$$VALUES ('2024-01-30Z'::timestamptz)$$, 'lots() has the expiry that activate() gave');
SELECT results_eq(format('SELECT points, expires_at FROM loyalty.lots(%s, ''slide'', as_of => ''2024-01-24'')', pg_temp.member_of('a given end is far')),
	$$VALUES (8::bigint, '2024-01-25Z'::timestamptz)$$, 'no activity moves a given end');
-- where lots arrive, what happened before extends none of them
SELECT FROM loyalty.earn(705, 100, 'slide', effective_at => '2024-01-01Z');
SELECT FROM loyalty.earn(706, 10, 'slide', effective_at => '2024-01-08Z');
SELECT FROM loyalty.transfer(705, 706, 100, 'slide', effective_at => '2024-01-09Z');
SELECT e.entry_id AS activity FROM loyalty.earn(706, 1, 'slide', effective_at => '2024-01-10Z') e \gset
SELECT e.entry_id AS correction FROM loyalty.adjust(706, -60, 'test', 'slide', effective_at => '2024-01-10Z') e \gset
SELECT e.entry_id AS undone FROM loyalty.reverse(706, :activity, effective_at => '2024-01-10Z') e \gset
SELECT results_eq($$SELECT points, expires_at FROM loyalty.lots(706, 'slide', as_of => '2024-01-10')$$,
	$$VALUES (40::bigint, '2024-01-11Z'::timestamptz), (10, '2024-01-18Z')$$, 'a lot that was transferred, and an activity after that undone');
SELECT FROM loyalty.reverse(706, :correction, 20, effective_at => '2024-01-10Z');
SELECT results_eq($$SELECT sum(points), expires_at FROM loyalty.lots(706, 'slide', as_of => '2024-01-10') GROUP BY 2 ORDER BY 2$$,
	$$VALUES (60::numeric, '2024-01-11Z'::timestamptz), (10, '2024-01-18Z')$$, 'what comes back to it');
SELECT FROM loyalty.reverse(706, :undone, effective_at => '2024-01-10Z');
SELECT results_eq($$SELECT sum(points), expires_at FROM loyalty.lots(706, 'slide', as_of => '2024-01-10') GROUP BY 2$$,
	$$VALUES (71::numeric, '2024-01-20Z'::timestamptz)$$, 'the activity counts again for all that was there');
SELECT results_eq(format('SELECT kind COLLATE "default", points, requested FROM loyalty.ledger WHERE member_id IN (%s, %s) AND kind IN (''activate'', ''release'', ''hold'') ORDER BY kind',
	pg_temp.member_of('activate'), pg_temp.member_of('a released hold')),
	$$VALUES ('activate', 0::bigint, 10::bigint), ('hold', 0, 60), ('release', 0, 60)$$, 'what only changes the state of points changes no sum');
SELECT results_eq(format('SELECT u.points, u.available_at, u.hold_id FROM loyalty.ledger l, loyalty.unnest_lots(l.lots) u WHERE l.member_id = %s AND l.kind = ''release''', pg_temp.member_of('a released hold')),
	$$VALUES (60::bigint, '2024-01-03Z'::timestamptz, NULL::bigint)$$, 'what a release sets free is held no more');
-- what is to repay debt will not expire
SELECT results_eq(format('SELECT loyalty.expiring_points(balance, ''2024-02-01'', ''2024-01-05''), loyalty.debt(balance, ''2024-01-09''), loyalty.debt(balance, ''2024-01-10''), loyalty.next_unbooked_expiry(balance) FROM loyalty.wallet WHERE member_id = %s', pg_temp.member_of('by the clock alone')),
	$$VALUES (8::bigint, 4::bigint, 0::bigint, '2024-01-20Z'::timestamptz)$$, 'accessors of a balance that owes');
SELECT results_eq(format('SELECT * FROM loyalty.expiring(%s, as_of => ''2024-01-08'')', pg_temp.member_of('by the clock alone')),
	$$VALUES ('2024-01-20Z'::timestamptz, 5::bigint, 1::bigint), ('2024-01-30Z', 3, 1)$$, 'expiring() of a member who owes');
SELECT throws_ok($$SELECT '{"entries": 2, "last_entry_id": 2, "last_effective_at": "2024-01-02T00:00:00+00:00", "earned": 5, "redeemed": 5, "debt": 5,
	"lots": [{"lot_id": 1, "points": 5, "earned_at": "2024-01-01T00:00:00+00:00"}]}'::loyalty.points_balance$$,
	'22P02', 'invalid points_balance', 'no balance has points that ought to have repaid its debt');

-- A wallet with a history in which entries come late in every way: the statement says what balance() says.
CREATE TEMP TABLE late_day AS SELECT n, 1 + (n * 37) % 60 AS day FROM generate_series(1, 60) n UNION ALL SELECT 61, 1 UNION ALL SELECT 62, 60 UNION ALL SELECT 63, 30;
SELECT count(loyalty.earn(720, n, effective_at => timestamptz '2024-01-01' + day * interval '1 day')) FROM (SELECT * FROM late_day ORDER BY n) d \g /dev/null
SELECT is_empty($$
	SELECT s.* FROM (SELECT DISTINCT ON (s.effective_at) * FROM loyalty.statement(720) s ORDER BY s.effective_at, s.entry_id DESC) s
	WHERE s.available <> (SELECT sum(n) FROM late_day WHERE timestamptz '2024-01-01' + day * interval '1 day' <= s.effective_at)$$, 'the statement of late entries');
SELECT is_empty($$SELECT * FROM loyalty.ledger WHERE member_id = (SELECT 1000 + min(n) FROM step WHERE story = 'arguments')$$, 'what was refused left no entry');

-- ---------------------------------------------------------------------------
-- Expiry policies
-- ---------------------------------------------------------------------------

CREATE TEMP TABLE expiry (
	n serial,
	policy text,		-- arguments of create_currency()
	earned text,
	expires text		-- NULL: never
);
INSERT INTO expiry (policy, earned, expires) VALUES
	($$'none'$$, '2024-01-01', NULL),
	-- calendar arithmetic: month ends and leap days
	($$'rolling', '1 month', time_zone => 'UTC'$$, '2024-01-31', '2024-02-29'),
	($$'rolling', '1 month', time_zone => 'UTC'$$, '2023-01-31', '2023-02-28'),
	($$'rolling', '1 month', time_zone => 'UTC'$$, '2024-02-29', '2024-03-29'),
	($$'rolling', '1 year', time_zone => 'UTC'$$, '2024-02-29', '2025-02-28'),
	($$'rolling', '4 years', time_zone => 'UTC'$$, '2020-02-29', '2024-02-29'),
	($$'rolling', '24 months', time_zone => 'UTC'$$, '2024-02-29 12:34:56.789', '2026-02-28 12:34:56.789'),
	($$'rolling', '30 days', time_zone => 'UTC'$$, '2024-02-01', '2024-03-02'),
	($$'rolling', '90 minutes', time_zone => 'UTC'$$, '2024-02-01', '2024-02-01 01:30'),
	-- rounding up; what stands on an end stays
	($$'rolling', '1 month', 'day', time_zone => 'UTC'$$, '2024-01-15 10:00', '2024-02-16'),
	($$'rolling', '1 month', 'day', time_zone => 'UTC'$$, '2024-01-15', '2024-02-15'),
	($$'rolling', '1 month', 'month', time_zone => 'UTC'$$, '2024-01-31 10:00', '2024-03-01'),
	($$'rolling', '1 month', 'month', time_zone => 'UTC'$$, '2024-01-01', '2024-02-01'),
	($$'rolling', '1 year', 'month', time_zone => 'UTC'$$, '2023-12-15', '2025-01-01'),
	($$'rolling', '1 month', 'quarter', time_zone => 'UTC'$$, '2024-01-15', '2024-04-01'),
	($$'rolling', '1 month', 'quarter', time_zone => 'UTC'$$, '2023-10-15', '2024-01-01'),
	($$'rolling', '1 month', 'quarter', time_zone => 'UTC'$$, '2023-12-01', '2024-01-01'),
	($$'rolling', '1 year', 'year', time_zone => 'UTC'$$, '2024-06-30', '2026-01-01'),
	($$'rolling', '1 year', 'year', time_zone => 'UTC'$$, '2024-01-01', '2025-01-01'),
	($$'rolling', '1 year', 'march', time_zone => 'UTC'$$, '2023-02-10', '2024-04-01'),
	($$'rolling', '1 year', 'march', time_zone => 'UTC'$$, '2023-03-31 23:59:59', '2024-04-01'),
	($$'rolling', '1 year', 'march', time_zone => 'UTC'$$, '2023-04-01', '2024-04-01'),
	($$'rolling', '1 year', 'march', time_zone => 'UTC'$$, '2023-04-01 00:00:00.000001', '2025-04-01'),
	($$'rolling', '1 year', 'february', time_zone => 'UTC'$$, '2023-01-10', '2024-03-01'),
	($$'rolling', '1 year', 'december', time_zone => 'UTC'$$, '2024-01-01', '2025-01-01'),
	($$'rolling', '1 year', 'december', time_zone => 'UTC'$$, '2024-01-02', '2026-01-01'),
	-- time zones and clock changes: a day is a day, an hour is an hour
	($$'rolling', '1 day', time_zone => 'Europe/Berlin'$$, '2024-03-30 11:00Z', '2024-03-31 10:00Z'),
	($$'rolling', '1 day', time_zone => 'Europe/Berlin'$$, '2024-10-26 10:00Z', '2024-10-27 11:00Z'),
	($$'rolling', '1 day', time_zone => 'Europe/Berlin'$$, '2024-03-30 01:30Z', '2024-03-31 01:30Z'),
	($$'rolling', '2 hours', time_zone => 'Europe/Berlin'$$, '2024-03-31 00:30Z', '2024-03-31 02:30Z'),
	($$'rolling', '10 minutes', time_zone => 'Europe/Berlin'$$, '2024-10-27 00:20Z', '2024-10-27 00:30Z'),
	($$'rolling', '1 day 2 hours', time_zone => 'Europe/Berlin'$$, '2024-10-25 23:30Z', '2024-10-27 01:30Z'),
	($$'rolling', '1 month', time_zone => 'Europe/Berlin'$$, '2024-03-15 11:00Z', '2024-04-15 10:00Z'),
	($$'rolling', '1 day', 'day', time_zone => 'Asia/Shanghai'$$, '2024-01-15 20:00Z', '2024-01-17 16:00Z'),
	($$'rolling', '1 year', 'year', time_zone => 'America/New_York'$$, '2024-01-01 03:00Z', '2025-01-01 05:00Z'),
	($$'rolling', '1 year', 'year', time_zone => 'Pacific/Kiritimati'$$, '2024-12-31 09:00Z', '2025-12-31 10:00Z'),
	($$'rolling', '1 year', 'year', time_zone => 'Pacific/Kiritimati'$$, '2024-12-31 11:00Z', '2026-12-31 10:00Z'),
	($$'rolling', '1 month', 'month', time_zone => 'Europe/Berlin'$$, '2024-02-15', '2024-03-31 22:00Z'),
	-- calendar: the end of a day each year, after a minimum life
	($$'calendar', expiry_month => 12, expiry_day => 31, time_zone => 'UTC'$$, '2024-06-01', '2025-01-01'),
	($$'calendar', expiry_month => 12, expiry_day => 31, time_zone => 'UTC'$$, '2024-12-31 23:59', '2025-01-01'),
	($$'calendar', expiry_month => 12, expiry_day => 31, time_zone => 'UTC'$$, '2025-01-01', '2026-01-01'),
	($$'calendar', expiry_month => 12, expiry_day => 31, minimum_life => '6 months', time_zone => 'UTC'$$, '2024-07-01', '2025-01-01'),
	($$'calendar', expiry_month => 12, expiry_day => 31, minimum_life => '6 months', time_zone => 'UTC'$$, '2024-07-01 00:00:01', '2026-01-01'),
	($$'calendar', expiry_month => 2, expiry_day => 29, time_zone => 'UTC'$$, '2024-01-01', '2024-03-01'),
	($$'calendar', expiry_month => 2, expiry_day => 29, time_zone => 'UTC'$$, '2025-01-01', '2025-03-01'),
	($$'calendar', expiry_month => 6, expiry_day => 30, time_zone => 'Europe/Berlin'$$, '2024-01-01', '2024-06-30 22:00Z'),
	($$'calendar', expiry_month => 3, expiry_day => 31, time_zone => 'America/New_York'$$, '2024-01-01', '2024-04-01 04:00Z'),
	($$'calendar', expiry_month => 4, expiry_day => 31, time_zone => 'UTC'$$, '2024-01-01', '2024-05-01'),
	-- sliding: like rolling, for the lot that opens
	($$'sliding', '1 month', time_zone => 'UTC'$$, '2024-01-31', '2024-02-29'),
	($$'sliding', '1 month', 'month', time_zone => 'UTC'$$, '2024-01-31', '2024-03-01');

SELECT lives_ok(format('SELECT loyalty.create_currency(%L, %L, %s)', 'expiry_' || n, 'x', policy), 'create_currency ' || policy) FROM expiry ORDER BY n;
SELECT lives_ok(format('SELECT loyalty.earn(%s, 10, %L, effective_at => %L)', n, 'expiry_' || n, earned::timestamptz), format('%s: earn at %s', policy, earned)) FROM expiry ORDER BY n;
SELECT is((SELECT l.expires_at FROM loyalty.lots(n, 'expiry_' || n, as_of => earned::timestamptz) l),
	expires::timestamptz, format('%s: earned %s, expires %s', policy, earned, coalesce(expires, 'never')))
FROM expiry ORDER BY n;

CREATE TEMP TABLE bad_currency (arguments text, state text);
INSERT INTO bad_currency VALUES
	($$'points', expiry_policy => 'rolling', expiry_interval => '1 year'$$, 'LY111'), ($$'oldest'$$, 'LY111'), ($$NULL$$, 'LY003'), ($$''$$, 'LY003'), ($$'With Space'$$, 'LY003'), ($$'UPPER'$$, 'LY003'),
	($$repeat('x', 64)$$, 'LY003'),
	($$'a', expiry_policy => 'never'$$, 'LY003'), ($$'a', expiry_policy => NULL$$, 'LY003'),
	($$'a', expiry_policy => 'rolling'$$, 'LY003'), ($$'a', expiry_policy => 'sliding'$$, 'LY003'),
	($$'a', expiry_policy => 'none', expiry_interval => '1 year'$$, 'LY003'),
	($$'a', expiry_policy => 'rolling', expiry_interval => '0'$$, 'LY003'), ($$'a', expiry_policy => 'rolling', expiry_interval => '-1 day'$$, 'LY003'),
	($$'a', expiry_policy => 'rolling', expiry_interval => '1 month', expiry_rounding => 'week'$$, 'LY003'),
	($$'a', expiry_policy => 'calendar'$$, 'LY003'), ($$'a', expiry_policy => 'calendar', expiry_month => 13, expiry_day => 1$$, 'LY003'),
	($$'a', expiry_policy => 'calendar', expiry_month => 2$$, 'LY003'), ($$'a', expiry_policy => 'calendar', expiry_month => 2, expiry_day => 0$$, 'LY003'),
	($$'a', expiry_policy => 'calendar', expiry_month => 2, expiry_day => 32$$, 'LY003'),
	($$'a', minimum_life => '-1 day'$$, 'LY003'), ($$'a', consumption_order => 'newest_first'$$, 'LY003'),
	($$'a', clawback_policy => 'none'$$, 'LY003'), ($$'a', refund_grace => '-1 day'$$, 'LY003'),
	($$'a', qualifying_kinds => '{steal}'$$, 'LY003'), ($$'a', time_zone => 'Mars/Olympus'$$, 'LY003');
SELECT throws_ok(format('SELECT loyalty.create_currency(%s)', arguments), state, NULL, 'create_currency ' || arguments) FROM bad_currency;
SELECT throws_ok($$UPDATE loyalty.currency SET consumption_order = 'oldest_first' WHERE code = 'points'$$, 'LY003', NULL, 'the order of consumption stays');
SELECT throws_ok($$UPDATE loyalty.currency SET time_zone = 'Mars/Olympus' WHERE code = 'points'$$, 'LY003', NULL, 'the time zone must exist');

-- ---------------------------------------------------------------------------
-- Jobs and reading
-- ---------------------------------------------------------------------------

SELECT FROM loyalty.earn(500, 100, effective_at => '2020-01-01', expires_at => '2021-01-01');
SELECT FROM loyalty.earn(500, 50, effective_at => '2020-01-01', expires_at => '2022-01-01');
SELECT is((SELECT available FROM loyalty.balance(500)), 0::bigint, 'what has expired is expired without any job');
SELECT is((SELECT expired FROM loyalty.balance(500)), 150::bigint, 'and is called so');
CALL loyalty.book_expiries('2021-06-01');
SELECT results_eq($$SELECT kind COLLATE "default", points FROM loyalty.ledger WHERE member_id = 500 AND kind = 'expire'$$, $$VALUES ('expire', -100::bigint)$$, 'book_expiries() books what had expired');
CALL loyalty.book_expiries('2021-06-01');
SELECT is((SELECT count(*) FROM loyalty.ledger WHERE member_id = 500 AND kind = 'expire'), 1::bigint, 'once');
CALL loyalty.book_expiries();
SELECT is((SELECT sum(points) FROM loyalty.ledger WHERE member_id = 500), 0::numeric, 'then the rest');
SELECT is((SELECT expired FROM loyalty.balance(500)), 150::bigint, 'no balance changes by it');
SELECT is((SELECT array_agg(DISTINCT status) FROM loyalty.job_run WHERE job = 'book_expiries'), ARRAY['finished'], 'job_run tells');
\set ON_ERROR_STOP off
CALL loyalty.book_expiries('infinity');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'LY003', 'book_expiries(infinity)');
CALL loyalty.book_expiries('2999-01-01');
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'LY003', 'book_expiries() in the future');
CALL loyalty.book_expiries(batch_size => 0);
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'LY003', 'book_expiries() of no batch');
\set ON_ERROR_STOP on
SELECT throws_ok('CALL loyalty.book_expiries()', '25001', NULL, 'book_expiries() within a statement');
SELECT is(loyalty.book_expiry(987654321, 'points', now()), 0::bigint, 'book_expiry() of nobody has nothing to do');
SELECT throws_ok($$SELECT loyalty.book_expiry(500, 'none_such', now())$$, 'LY102', NULL, 'book_expiry() of an unknown currency');
SELECT throws_ok(format('SELECT loyalty.book_expiry(%s)', a), 'LY003', NULL, format('book_expiry(%s)', a))
FROM unnest(ARRAY['NULL, ''points'', now()', '500, NULL, now()', '500, ''points'', NULL', '500, ''points'', ''infinity''',
	'500, ''points'', ''-infinity''', '500, ''points'', now() + interval ''1 hour''', '987654321, ''points'', now() + interval ''1 hour''']) a;

SELECT FROM loyalty.earn(501, 100, effective_at => '2020-01-01');
SELECT FROM loyalty.redeem(501, 30, effective_at => '2020-03-01');
SELECT max(recorded_at)::text AS known FROM loyalty.ledger \gset
SET test.known = :'known';
SELECT FROM loyalty.redeem(501, 20, effective_at => '2020-02-01');
SELECT results_eq(
	$$SELECT (SELECT available FROM loyalty.balance(501, as_of => t::timestamptz)) FROM unnest(ARRAY['2019-12-31', '2020-01-15', '2020-02-15', '2020-03-01', '2024-01-01']) t$$,
	$$VALUES (0::bigint), (100), (80), (50), (50)$$, 'balance() as of an instant');
SELECT results_eq(
	$$SELECT (SELECT available FROM loyalty.balance(501, as_of => t::timestamptz, known_at => current_setting('test.known')::timestamptz)) FROM unnest(ARRAY['2020-02-15', '2020-03-01']) t$$,
	$$VALUES (100::bigint), (70)$$, 'balance() as known at an instant');
SELECT results_eq('SELECT available, pending, held, debt, earned FROM loyalty.balance(987654321)', 'VALUES (0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint)', 'balance() of nobody');
SELECT throws_ok($$SELECT * FROM loyalty.balance(501, 'none_such')$$, 'LY102', NULL, 'balance() of an unknown currency');
SELECT throws_ok($$SELECT * FROM loyalty.balance(501, as_of => 'infinity')$$, 'LY003', NULL, 'balance(infinity)');
SELECT results_eq($$SELECT * FROM loyalty.balance(501, as_of => NULL)$$, $$SELECT * FROM loyalty.balance(501)$$, 'balance() as of NULL is that of now');
SELECT results_eq($$SELECT * FROM loyalty.lots(501, as_of => NULL)$$, $$SELECT * FROM loyalty.lots(501)$$, 'so are lots()');
SELECT results_eq($$SELECT * FROM loyalty.expiring(501, as_of => NULL)$$, $$SELECT * FROM loyalty.expiring(501)$$, 'and expiring()');
SELECT results_eq($$SELECT available FROM loyalty.balance(501, as_of => NULL, known_at => current_setting('test.known')::timestamptz)$$, $$VALUES (70::bigint)$$, 'as known at an instant');
SELECT throws_ok($$SELECT * FROM loyalty.statement(NULL)$$, 'LY003', NULL, 'statement() of no member');
SELECT throws_ok($$SELECT * FROM loyalty.statement(501, NULL)$$, 'LY003', NULL, 'statement() of no currency');
SELECT results_eq($$SELECT * FROM loyalty.statement(501, 'points', NULL, NULL, NULL)$$, $$SELECT * FROM loyalty.statement(501)$$, 'statement() without bounds');
SELECT results_eq($$SELECT * FROM loyalty.expiring(500, until => NULL, as_of => '2020-06-01')$$, $$SELECT * FROM loyalty.expiring(500, as_of => '2020-06-01')$$, 'expiring() without a bound');
SELECT throws_ok($$SELECT * FROM loyalty.lots(501, 'none_such')$$, 'LY102', NULL, 'lots() of an unknown currency');
SELECT throws_ok($$SELECT loyalty.available(loyalty.balance_agg(1, '2024-01-02', NULL), '2024-01-01')$$, 'LY110', NULL, 'a balance before its last entry');
SELECT throws_ok($$SELECT loyalty.balance_agg(1, NULL, NULL)$$, 'LY003', NULL, 'balance_agg() of no instant');
SELECT throws_ok($$SELECT loyalty.balance_agg(1, 'infinity', NULL)$$, 'LY003', NULL, 'balance_agg(infinity)');
SELECT throws_ok($$SELECT loyalty.balance_agg(9223372036854775807, '2024-01-01', NULL) FROM generate_series(1, 2)$$, 'LY109', NULL, 'balance_agg() beyond bigint');
SELECT throws_ok($$SELECT loyalty.ledger_agg('steal', 1, '2024-01-01', NULL, NULL)$$, 'LY104', NULL, 'ledger_agg() of an unknown kind');
SELECT throws_ok($$SELECT loyalty.ledger_agg('reverse', 1, '2024-01-01', NULL, NULL)$$, 'LY104', NULL, 'ledger_agg() of a kind that refers to another entry');
SELECT throws_ok($$SELECT * FROM loyalty.verify_ledger('nonsense')$$, 'LY113', NULL, 'verify_ledger() of no digest');
SELECT throws_ok($$SELECT * FROM loyalty.verify_ledger(NULL)$$, 'LY113', NULL, 'verify_ledger(NULL)');
SELECT is((SELECT intact FROM loyalty.verify_ledger(loyalty.ledger_digest())), true, 'ledger_digest() verifies');
-- piece by piece: each covers its ids, is bound to the one before, and is verified by itself
SELECT loyalty.ledger_digest(blocks => 4, up_to => 100) AS first \gset
SELECT loyalty.ledger_digest(:'first', 4, 150) AS second \gset
SELECT is(array_agg(format('%s to %s', d.after, d.up_to)), '{0 to 100,100 to 150}', 'two pieces')
FROM (VALUES (:'first'), (:'second')) v (digest), loyalty.read_digest(v.digest) d;
SELECT is(loyalty.ledger_digest(:'first', 4, 150), :'second', 'the same again');
SELECT is((SELECT entries FROM loyalty.read_digest(:'second')), (SELECT count(*) FROM loyalty.ledger WHERE entry_id > 100 AND entry_id <= 150), 'all entries there');
SELECT ok(intact, 'each verifies: ' || chains) FROM (VALUES (:'first'), (:'second')) v (digest), (VALUES (true), (false), (NULL)) c (chains),
	loyalty.verify_ledger(v.digest, c.chains);
SELECT is((SELECT up_to FROM loyalty.read_digest(loyalty.ledger_digest(up_to => 9223372036854775807))), (SELECT max(entry_id) FROM loyalty.ledger), 'up_to beyond the end is the end');
SELECT throws_ok(format('SELECT loyalty.ledger_digest(%L, 4, 99)', :'first'), 'LY003', NULL, 'up_to before the end of the previous digest');
SELECT throws_ok('SELECT loyalty.ledger_digest(up_to => -1)', 'LY003', NULL, 'up_to before the first id');
-- an entry of the second piece is edited, and its hash with it: only that piece says so where the chains are left out
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE loyalty.ledger SET points = points + 1, hash = sha256(hash) WHERE entry_id = (SELECT min(entry_id) FROM loyalty.ledger WHERE entry_id > 120);
SELECT is(array_agg(v.n || ' ' || i.intact ORDER BY v.n), '{1 true,2 false}', 'the piece in which it is')
FROM (VALUES (1, :'first'), (2, :'second')) v (n, digest), loyalty.verify_ledger(v.digest, false) i;
ROLLBACK;

-- ranges of members that follow each other are all of check_all()
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE loyalty.wallet SET balance = loyalty.empty_balance() WHERE member_id % 5 = 0;
UPDATE loyalty.ledger SET target_entry_id = 1 WHERE kind IN ('release', 'capture') AND member_id % 2 = 0;
DELETE FROM loyalty.ledger WHERE kind = 'transfer_in' AND entry_id = (SELECT min(entry_id) FROM loyalty.ledger WHERE kind = 'transfer_in');
ALTER TABLE loyalty.ledger DISABLE TRIGGER append_only;
CREATE TEMP TABLE found AS SELECT * FROM loyalty.check_all();
CREATE TEMP TABLE bound AS SELECT b, lead(b) OVER (ORDER BY b NULLS FIRST) AS up_to FROM unnest('{NULL,-9223372036854775808,3,50,500,501,700}'::bigint[]) b;
SELECT bag_eq('SELECT c.* FROM bound b, loyalty.check_all(b.b, b.up_to) c', 'SELECT * FROM found', 'ranges of check_all()');
SELECT set_has('SELECT invariant FROM found', $$VALUES ('wallet'), ('target'), ('transfer'), ('trigger')$$, 'of members, and of none');
SELECT is_empty('SELECT * FROM loyalty.check_all(NULL, -9223372036854775808) WHERE member_id IS NOT NULL', 'before the first member there is what concerns none');
ROLLBACK;

-- post_many(): all or none, in the order given
SELECT results_eq($$SELECT ordinal, available, replayed FROM loyalty.post_many(ARRAY[601, 600, 601, 601], ARRAY['earn', 'earn', 'redeem', 'earn'], ARRAY[10, 5, 4, 1], idempotency_keys => ARRAY['a', NULL, NULL, 'b'])$$,
	$$VALUES (1::bigint, 10::bigint, false), (2, 5, false), (3, 6, false), (4, 7, false)$$, 'post_many()');
SELECT throws_ok($$SELECT * FROM loyalty.post_many(ARRAY[600, 601], ARRAY['earn', 'redeem'], ARRAY[100, 100])$$, 'LY101', NULL, 'post_many() of what cannot be');
SELECT is((SELECT available FROM loyalty.balance(600)), 5::bigint, 'posts nothing');
SELECT results_eq($$SELECT available, replayed FROM loyalty.post_many(ARRAY[601], ARRAY['earn'], ARRAY[10], idempotency_keys => ARRAY['a'])$$, $$VALUES (10::bigint, true)$$, 'post_many() replays');
SELECT results_eq($$SELECT count(*), count(DISTINCT entry_id), sum(available), bool_or(replayed) FROM loyalty.post_many(ARRAY(SELECT 610 + i % 7 FROM generate_series(0, 6999) i), array_fill('earn'::text, '{7000}'), array_fill(2::bigint, '{7000}'))$$,
	$$VALUES (7000::bigint, 7000::bigint, (7 * 1000 * 1001)::numeric, false)$$, 'post_many() of thousands');

-- what an error is about stands in its context
CREATE FUNCTION pg_temp.context_of(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	context text;
BEGIN
	EXECUTE call;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
	-- what PL/pgSQL and the call itself add stands behind
	RETURN SQLSTATE || ' ' || split_part(context, E'\nSQL statement "SELECT', 1);
END $$;
SELECT is(pg_temp.context_of($$SELECT loyalty.post_many('{601,600,601}', '{earn,redeem,redeem}', '{1,100,1}')$$), 'LY101 element 2 of post_many', 'the element');
CREATE TABLE wrong_history (member_id bigint, points numeric, effective_at timestamptz, kind text, expires_at timestamptz, hold_until timestamptz, idempotency_key text);
CREATE FUNCTION pg_temp.backfilled(points numeric, kind text DEFAULT NULL, key text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE wrong_history;
	INSERT INTO wrong_history VALUES (620, points, '2024-01-01', kind, '2025-01-01', '2025-01-01', key);
	RETURN pg_temp.context_of('SELECT loyalty.backfill(''wrong_history'')');
END $$;
SELECT is(pg_temp.backfilled(points, kind, key), outcome, format('backfill() of points %s, kind %s, key %s', points, kind, left(key, 3)))
FROM (VALUES (0, NULL, NULL, 'LY003 row of backfill for member 620, effective at 2024-01-01 00:00:00+00'),
	(NULL, 'earn', 'k', 'LY003 row of backfill for member 620, effective at 2024-01-01 00:00:00+00, idempotency key k'),
	(NULL, NULL, NULL, 'LY003 row of backfill for member 620, effective at 2024-01-01 00:00:00+00'),
	(1, 'earn', '', 'LY003 row of backfill for member 620, effective at 2024-01-01 00:00:00+00, idempotency key '),
	(1, 'adjust', NULL, 'LY003 row of backfill for member 620, effective at 2024-01-01 00:00:00+00')) v(points, kind, key, outcome);
SELECT is(left(pg_temp.backfilled(points), 5), state, format('backfill() of %s points', points))
FROM (VALUES (1.5, 'LY003'), ('NaN', 'LY003'), (1e30, 'LY003')) v(points, state);
SELECT is(left(pg_temp.backfilled(1, 'earn', repeat('k', 2001)), 5), 'LY003', 'backfill() of a key that is too long');
-- a key that was used is found when the rows gathered so far go in, which an entry that refers to an older one makes them do:
-- the error is not about that entry
SELECT FROM loyalty.earn(622, 5, effective_at => '2024-01-01', idempotency_key => 'used');
CREATE TABLE used_again AS SELECT * FROM (VALUES (622::bigint, 1::bigint, timestamptz '2024-01-02', 'earn', 'used', NULL),
	(622, 1, '2024-01-03', 'reverse', NULL, 'used before')) v(member_id, points, effective_at, kind, idempotency_key, target_key);
SELECT matches(pg_temp.context_of('SELECT loyalty.backfill(''used_again'')'), '^23505 (?!.*row of backfill)', 'a key that was used before: of no row that is being read');
SELECT is(pg_temp.context_of('SELECT loyalty.backfill(''used_again'')') LIKE '%row of backfill%', false, 'is not said of another row');
SELECT is_empty('SELECT FROM loyalty.ledger WHERE member_id = 620', 'which leave nothing behind');
SELECT is(pg_temp.backfilled(7.00), 'no error', 'whole points in a column that could hold others');
SELECT is(pg_temp.backfilled(-2), 'no error', 'and points that go out, of a row with instants for others');
SELECT results_eq('SELECT kind COLLATE "default", points, expires_at, hold_until FROM loyalty.ledger WHERE member_id = 620 ORDER BY entry_id',
	$$VALUES ('earn', 7::bigint, '2025-01-01Z'::timestamptz, NULL::timestamptz), ('redeem', -2, NULL, NULL)$$, 'which are not kept');

-- a key as long as it may be, and a member whose id is 0
SELECT is((SELECT replayed FROM loyalty.earn(621, 1, idempotency_key => (SELECT left(string_agg(md5(i::text), ''), 2000) FROM generate_series(1, 63) i))), false, 'a key of 2000 bytes');
SELECT FROM loyalty.earn(621, 10, effective_at => '2024-01-01');
SELECT FROM loyalty.transfer(621, 0, 3, effective_at => '2024-01-02');
SELECT FROM loyalty.transfer(0, 621, 2, effective_at => '2024-01-03');
SELECT results_eq('SELECT member_id, kind COLLATE "default", counterparty_id FROM loyalty.ledger WHERE 0 IN (member_id, counterparty_id) ORDER BY entry_id',
	$$VALUES (621::bigint, 'transfer_out', 0::bigint), (0, 'transfer_in', 621), (0, 'transfer_out', 621), (621, 'transfer_in', 0)$$, 'member 0 is a member');

-- a digest that this ledger does not reach
SELECT throws_ok(format('SELECT loyalty.ledger_digest(%L)', regexp_replace(loyalty.ledger_digest(), '^loyalty-digest-1:0:\d+:', 'loyalty-digest-1:0:999999999:')),
	'LY113', 'the previous digest reaches beyond this ledger', 'ledger_digest() behind the end');

-- as of an instant at which fewer lots were there, a redemption takes what it took of a joined lot from lots of that
-- expiry, and nothing of those that were set aside then and expire sooner
SELECT FROM loyalty.earn(705, 100, effective_at => '2024-01-01', expires_at => '2024-01-30');
SELECT FROM generate_series(1, 63) i, LATERAL loyalty.earn(705, 1, effective_at => timestamptz '2024-01-02' + i * interval '1 minute', expires_at => '2024-03-01') e;
SELECT FROM loyalty.earn(705, 5, effective_at => '2024-01-25', expires_at => '2024-04-01');
SELECT is((SELECT count(*) FROM loyalty.lots(705, as_of => '2024-01-26')), 3::bigint, 'sixty-three lots are joined');
SELECT FROM loyalty.hold(705, 100, hold_until => '2024-01-29', effective_at => '2024-01-20');
SELECT FROM loyalty.redeem(705, 50, effective_at => '2024-01-15');
SELECT results_eq($$SELECT as_of, l.expires_at, sum(l.points)::bigint, l.state FROM unnest('{2024-01-16,2024-01-21,2024-01-26}'::timestamptz[]) as_of, loyalty.lots(705, as_of => as_of) l GROUP BY as_of, l.expires_at, l.state ORDER BY 1, 2$$,
	$$VALUES ('2024-01-16'::timestamptz, '2024-01-30'::timestamptz, 100::bigint, 'available'), ('2024-01-16', '2024-03-01', 13, 'available'),
		('2024-01-21', '2024-01-30', 100, 'held'), ('2024-01-21', '2024-03-01', 13, 'available'),
		('2024-01-26', '2024-01-30', 100, 'held'), ('2024-01-26', '2024-03-01', 13, 'available'), ('2024-01-26', '2024-04-01', 5, 'available')$$, 'of a joined lot, as of an instant at which it was many');

-- beyond 64 lots, those of one expiry are joined; the reversal of an earn takes its points out of the joined lot
SELECT FROM loyalty.create_currency('slide_in_lot', expiry_policy => 'sliding', expiry_interval => '10 days', clawback_policy => 'within_lot', time_zone => 'UTC');
CREATE TEMP TABLE many_lots AS
SELECT m, c, i, e.entry_id FROM (VALUES (701, 'in_lot'), (702, 'slide_in_lot'), (703, 'points')) w(m, c), generate_series(1, 70) i,
	LATERAL loyalty.earn(m, 10, c, timestamptz '2024-01-01' + i * interval '1 minute',
		expires_at => CASE m WHEN 701 THEN timestamptz '2025-01-01' + (i % 2) * interval '1 day' WHEN 703 THEN '2025-01-01' END) e;
SELECT is((SELECT count(*) FROM loyalty.lots(m, c, '2024-01-02')) < 64, true, format('the lots of member %s are joined', m)) FROM (SELECT DISTINCT m, c FROM many_lots) w ORDER BY m;
CREATE FUNCTION pg_temp.explained(member_id bigint, i int, call text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	opened bigint := (SELECT t.entry_id FROM many_lots t WHERE t.m = $1 AND t.i = $2);
	posted bigint;
BEGIN
	EXECUTE format('SELECT entry_id FROM loyalty.' || call, opened) INTO posted;
	RETURN QUERY SELECT x.points, x.effect, x.lot_id = opened, x.why FROM loyalty.explain_entry($1, posted) x;
END $$;
SELECT results_eq(format('SELECT * FROM pg_temp.explained(%s, %s, %L) AS x(points bigint, effect text, own boolean, why text)', m, i, format('reverse(%s, %%s, effective_at => %L)', m, at)),
	format('VALUES (10::bigint, ''taken back'', %L::boolean, %L)', own, why), format('reversal of earn %s of member %s, joined', i, m))
FROM (VALUES
	(701, 40, '2024-01-02', false, 'the lot of the entry that is reversed is part of this one; lots of one expiry, joined: it has the id of the first'),
	(701, 2, '2024-01-02', true, 'the lot of the entry that is reversed; lots of one expiry, joined: it has the id of the first'),
	(701, 69, '2024-01-02', true, 'the lot of the entry that is reversed'),
	(702, 40, '2024-01-02', false, 'the lot of the entry that is reversed is part of this one; lots of one expiry, joined: it has the id of the first'),
	-- what has expired is not taken a second time, in a joined lot either
	(702, 41, '2024-02-01', false, 'the lot of the entry that is reversed is part of this one; lots of one expiry, joined: it has the id of the first')) v(m, i, at, own, why);
SELECT results_eq('SELECT available, debt, expired FROM loyalty.balance(702, ''slide_in_lot'', as_of => ''2024-02-02'')', 'VALUES (0::bigint, 0::bigint, 680::bigint)', 'of what slid and expired');

-- out of the joined lot, though one that is not joined expires before it, and after the lot was to
SELECT FROM generate_series(1, 64) i, LATERAL loyalty.earn(707, 1, 'slide_in_lot', timestamptz '2024-01-01' + i * interval '1 minute');
SELECT FROM loyalty.earn(707, 5, 'slide_in_lot', '2024-01-01 01:05', expires_at => '2024-01-11 01:04:30');
SELECT FROM loyalty.reverse(707, (SELECT entry_id FROM loyalty.ledger WHERE member_id = 707 ORDER BY entry_id OFFSET 39 LIMIT 1), effective_at => '2024-01-02');
SELECT results_eq($$SELECT points, expires_at FROM loyalty.lots(707, 'slide_in_lot', as_of => '2024-01-02')$$,
	$$VALUES (5::bigint, '2024-01-11 01:04:30Z'::timestamptz), (63, '2024-01-11 01:05Z')$$, 'a lot with an end of its own beside a joined one');

-- A late entry finds a joined lot from when its last points were there, never more than without joining.
SELECT is((SELECT count(*) FROM loyalty.lots(703, as_of => '2024-01-02')), 6::bigint, 'a joined lot and the newest');
SELECT throws_ok($$SELECT loyalty.redeem(703, 10, effective_at => '2024-01-01 00:30')$$, 'LY101', NULL, 'a late redemption before the joined points were all there');
SELECT results_eq($$SELECT * FROM pg_temp.explained(703, 1, 'redeem(703, 25, effective_at => ''2024-01-01 01:06'')') AS x(points bigint, effect text, own boolean, why text)$$,
	$$VALUES (25::bigint, 'consumed', true, 'available at 2024-01-01 01:06:00+00; the earliest to expire is consumed first; lots of one expiry, joined: it has the id of the first')$$, 'a late redemption after it');
-- the same entries again, in one statement: the same lots, joined alike
CREATE TABLE again AS SELECT 704 AS member_id, 10 AS points, timestamptz '2024-01-01' + i * interval '1 minute' AS effective_at, timestamptz '2025-01-01' AS expires_at FROM generate_series(1, 70) i;
SELECT is((SELECT entries FROM loyalty.backfill('again')), 70::bigint, 'the same by backfill()');
SELECT FROM loyalty.redeem(704, 25, effective_at => '2024-01-01 01:06');
SELECT results_eq($$SELECT points, state, earned_at, available_at, expires_at, row_number() OVER () FROM loyalty.lots(704, as_of => '2024-01-02')$$,
	$$SELECT points, state, earned_at, available_at, expires_at, row_number() OVER () FROM loyalty.lots(703, as_of => '2024-01-02')$$, 'gives the same lots');

-- joined lots are never told apart by what is taken from them: two members with the same history, one of
-- whom has 70 lots more, so that its lots are joined; lots that come back in between are consumed in their turn
CREATE FUNCTION pg_temp.same_history(m bigint, c text, more int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	first bigint;
	second bigint;
BEGIN
	PERFORM loyalty.earn(m, 10, c, '2024-01-01', expires_at => '2026-01-01');
	first := (SELECT entry_id FROM loyalty.redeem(m, 10, c, '2024-01-02'));
	PERFORM loyalty.earn(m, 10, c, '2024-01-03', expires_at => '2024-06-01');
	second := (SELECT entry_id FROM loyalty.redeem(m, 10, c, '2024-01-04'));
	PERFORM loyalty.earn(m, 10, c, '2024-01-05', expires_at => '2026-01-01');
	PERFORM loyalty.reverse(m, first, effective_at => '2024-01-06');
	PERFORM loyalty.earn(m, 1, c, '2024-01-07', expires_at => timestamptz '2027-01-01' + i * interval '1 day') FROM generate_series(1, more) i;
	PERFORM loyalty.reverse(m, second, effective_at => '2024-01-08');
	PERFORM loyalty.redeem(m, 20, c, '2024-01-09');
END $$;
SELECT FROM (VALUES (711, 'oldest', 70), (712, 'oldest', 0), (713, 'points', 70), (714, 'points', 0)) v(m, c, more), LATERAL pg_temp.same_history(m, c, more);
-- the same with a lot that is recorded late
CREATE FUNCTION pg_temp.same_late_history(m bigint, c text, more int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	first bigint;
	second bigint;
BEGIN
	PERFORM loyalty.earn(m, 10, c, '2024-01-01', expires_at => '2026-01-01');
	first := (SELECT entry_id FROM loyalty.redeem(m, 10, c, '2024-01-02'));
	PERFORM loyalty.earn(m, 10, c, '2024-01-05', expires_at => '2026-01-01');
	PERFORM loyalty.earn(m, 10, c, '2024-01-03', expires_at => '2024-06-01');
	second := (SELECT entry_id FROM loyalty.redeem(m, 10, c, '2024-01-05'));
	PERFORM loyalty.reverse(m, first, effective_at => '2024-01-06');
	PERFORM loyalty.earn(m, 1, c, '2024-01-07', expires_at => timestamptz '2027-01-01' + i * interval '1 day') FROM generate_series(1, more) i;
	PERFORM loyalty.reverse(m, second, effective_at => '2024-01-08');
	PERFORM loyalty.redeem(m, 20, c, '2024-01-09');
END $$;
SELECT FROM (VALUES (715, 'oldest', 70), (716, 'oldest', 0), (717, 'points', 70), (718, 'points', 0)) v(m, c, more), LATERAL pg_temp.same_late_history(m, c, more);
SELECT results_eq(format('SELECT expires_at, sum(points) FROM loyalty.lots(%s, %L, as_of => ''2024-01-10'') WHERE expires_at < ''2027-01-01'' GROUP BY 1 ORDER BY 1', m, c),
	$$VALUES ('2026-01-01Z'::timestamptz, 10::numeric)$$, format('the two that go first, of member %s', m))
FROM (VALUES (711, 'oldest'), (712, 'oldest'), (713, 'points'), (714, 'points'), (715, 'oldest'), (716, 'oldest'), (717, 'points'), (718, 'points')) v(m, c);

-- Who takes over the debt of others keeps it apart by whose it was.  What comes in repays the debt of its own home
-- first, then the wallet's own, then the others' from the lowest number on.
CREATE FUNCTION pg_temp.owing(m bigint, points bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	earned bigint := (SELECT entry_id FROM loyalty.earn(m, points, effective_at => '2024-01-01'));
BEGIN
	PERFORM loyalty.redeem(m, points, effective_at => '2024-01-02');
	PERFORM loyalty.reverse(m, earned, effective_at => '2024-01-03');
	RETURN earned;
END $$;
CREATE FUNCTION pg_temp.owed_after(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	one text;
BEGIN
	PERFORM loyalty.lock_wallets('{741,742,743,744}');
	FOREACH one IN ARRAY string_to_array(call, '; ') LOOP
		EXECUTE 'SELECT FROM ' || one;
	END LOOP;
	RETURN (SELECT format('%s: %s', w.balance::text::jsonb -> 'debt', (SELECT string_agg(format('%s of %s', e -> 'points', e -> 'home_id'), ', ' ORDER BY n)
			FROM jsonb_array_elements(w.balance::text::jsonb -> 'owed') WITH ORDINALITY o(e, n)))
		FROM loyalty.wallet w WHERE w.member_id = 744 AND w.currency = 'points');
END $$;
SELECT is(pg_temp.owed_after(call), outcome, call) FROM (VALUES
	(1, 'pg_temp.owing(742, 7); pg_temp.owing(743, 3); pg_temp.owing(741, 5); pg_temp.owing(744, 2)', '2: '),
	(2, 'loyalty.move_points(742, 744)', '9: 7 of 742'),
	(3, 'loyalty.move_points(743, 744)', '12: 7 of 742, 3 of 743'),
	(4, 'loyalty.move_points(741, 744)', '17: 5 of 741, 7 of 742, 3 of 743'),
	(5, 'loyalty.earn(744, 4)', '13: 3 of 741, 7 of 742, 3 of 743'),
	(6, 'loyalty.earn(743, 1); loyalty.move_points(743, 744)', '12: 3 of 741, 7 of 742, 2 of 743'),
	(7, 'loyalty.reverse(744, (SELECT max(entry_id) FROM loyalty.ledger WHERE member_id = 744 AND kind = ''earn''))', '16: 3 of 741, 7 of 742, 2 of 743'),
	(8, 'loyalty.earn(743, 4); loyalty.move_points(743, 744)', '12: 3 of 741, 7 of 742'),
	(9, 'loyalty.earn(744, 9)', '3: 3 of 742'),
	(10, 'loyalty.move_points(744, 742, homes => ''{741}'')', '3: 3 of 742'),
	(11, 'loyalty.move_points(744, 742, homes => ''{742}'')', ': ')) v(n, call, outcome) ORDER BY n;
SELECT is((SELECT debt FROM loyalty.balance(742)), 3::bigint, 'what is left of it goes back');
SELECT results_eq($$SELECT l.member_id, x.points, x.effect, x.why FROM loyalty.ledger l, loyalty.explain_entry(l.member_id, l.entry_id) x
		WHERE l.kind LIKE 'transfer%' AND 742 IN (l.member_id, l.counterparty_id) ORDER BY l.entry_id$$,
	$$VALUES (744::bigint, 7::bigint, 'became debt', 'member 742 had owed it'), (742, 7, 'repaid debt', 'member 744 has taken it over'),
		(742, 3, 'became debt', 'member 744 had owed it'), (744, 3, 'repaid debt', 'member 742 has taken it over')$$, 'debt that moves is explained');

-- 64 lots are not joined yet
CREATE FUNCTION pg_temp.lots_of(m bigint, n int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM loyalty.earn(m, 1, effective_at => timestamptz '2024-01-01' + i * interval '1 minute') FROM generate_series(1, n) i;
	RETURN (SELECT count(*) FROM loyalty.lots(m, as_of => '2024-01-02'));
END $$;
SELECT is(pg_temp.lots_of(730, 64), 64::bigint, '64 lots');
SELECT is(pg_temp.lots_of(731, 65), 1::bigint, '65 lots are one');
-- what is held is not taken back, out of a joined lot either; nor is what is not joined
SELECT is(pg_temp.lots_of(733, 65), 1::bigint, 'another 65');
SELECT FROM loyalty.earn(733, 7, effective_at => '2024-01-02');
SELECT FROM loyalty.hold(733, 70, '2024-02-01', effective_at => '2024-01-03');
SELECT FROM loyalty.reverse(733, (SELECT entry_id FROM loyalty.ledger WHERE member_id = 733 ORDER BY entry_id OFFSET 39 LIMIT 1), effective_at => '2024-01-04');
SELECT results_eq($$SELECT available, held, debt FROM loyalty.balance(733, as_of => '2024-01-04')$$, $$VALUES (1::bigint, 70::bigint, 0::bigint)$$, 'of what is held with them');
-- oldest first, too, where a lot lives as long as the next because of what happened in between
SELECT FROM loyalty.create_currency('slide_oldest', 'Points', 'sliding', '10 days', consumption_order => 'oldest_first', time_zone => 'UTC');
SELECT FROM loyalty.earn(732, 10, 'slide_oldest', '2024-01-01');
SELECT FROM loyalty.redeem(732, 1, 'slide_oldest', '2024-01-05');
SELECT FROM generate_series(1, 64) i, LATERAL loyalty.earn(732, 1, 'slide_oldest', timestamptz '2024-01-13' + i * interval '1 minute');
SELECT results_eq($$SELECT points, expires_at FROM loyalty.lots(732, 'slide_oldest', as_of => '2024-01-14')$$, $$VALUES (73::bigint, '2024-01-23 01:04Z'::timestamptz)$$, '65 lots that live as long are one');

-- what cannot be folded: check_all() names it, rebuild_wallets_of() refuses
CREATE FUNCTION pg_temp.tampered(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
	rebuilt text := 'rebuilt';
BEGIN
	ALTER TABLE loyalty.ledger DISABLE TRIGGER USER;
	EXECUTE change;
	ALTER TABLE loyalty.ledger ENABLE TRIGGER USER;
	found := (SELECT string_agg(DISTINCT invariant, ' ' ORDER BY invariant) FROM loyalty.check_wallets());
	BEGIN
		PERFORM loyalty.rebuild_wallets_of(ARRAY(SELECT DISTINCT member_id FROM loyalty.ledger ORDER BY 1));
	EXCEPTION WHEN data_corrupted THEN
		rebuilt := SQLERRM;
	END;
	RAISE EXCEPTION USING MESSAGE = found || ': ' || rebuilt, ERRCODE = 'LY999';
EXCEPTION WHEN SQLSTATE 'LY999' THEN
	RETURN SQLERRM;
END $$;
SELECT is(pg_temp.tampered('UPDATE loyalty.ledger SET points = points + 1 WHERE member_id = 731 AND entry_id = (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = 731)'),
	'chain entry: invariant "chain" is violated in the wallet of member 731, currency "points"', 'an entry that was changed');
SELECT is(pg_temp.tampered('DELETE FROM loyalty.ledger WHERE kind = ''earn'' AND member_id = ' || m),
	format('chain fold: invariant "chain" is violated in the wallet of member %s, currency "points"', m), 'an entry that was removed')
FROM pg_temp.member_of('earn and redeem') m;

-- what an entry took or gave is its points: more or fewer cannot follow what was before
SELECT is(split_part(pg_temp.tampered(format('UPDATE loyalty.ledger SET %s WHERE entry_id = (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = %s AND kind = %L)',
	change, pg_temp.member_of(story) + other, kind)), ':', 1), 'chain fold', format('%s of %s: %s', kind, story, change))
FROM (VALUES ('earn and redeem', 0, 'redeem', 'requested = requested + 1'), ('earn and redeem', 0, 'redeem', 'requested = requested - 1'),
	('a captured hold', 0, 'hold', 'requested = requested + 1'), ('a captured hold', 0, 'hold', 'requested = requested - 1'),
	('hold and capture', 0, 'capture', 'requested = requested + 1'), ('hold and capture', 0, 'capture', 'requested = requested - 1'),
	('partial refunds', 0, 'reverse', 'points = points - 1'),
	('clawback of the right lot', 0, 'reverse', 'points = points - 1'), ('clawback of the right lot', 0, 'reverse', 'points = points + 1'),
	('transfer', 0, 'transfer_out', 'requested = requested - 1'),
	('transfer', 1000000, 'transfer_in', 'requested = requested + 1'), ('transfer', 1000000, 'transfer_in', 'requested = requested - 1')) v(story, other, kind, change);

-- The hash of an entry by what chain.h says of it, without its code: ledgers that were written before are verified alike.
CREATE FUNCTION pg_temp.hashed(v bigint) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$ SELECT string_agg(substr(int8send(v), 9 - i, 1), '' ORDER BY i) FROM generate_series(1, 8) i $$;
CREATE FUNCTION pg_temp.hashed(v timestamptz) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$ SELECT pg_temp.hashed(CASE v WHEN 'infinity' THEN 9223372036854775807 ELSE (extract(epoch FROM v - '2000-01-01Z') * 1000000)::bigint END) $$;
CREATE FUNCTION pg_temp.hashed_null(v timestamptz) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN v IS NULL THEN '\x00' ELSE '\x01' || pg_temp.hashed(v) END $$;
CREATE FUNCTION pg_temp.hashed_null(v bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN v IS NULL THEN pg_temp.hashed(-1) ELSE pg_temp.hashed(octet_length(v)) || v END $$;
CREATE FUNCTION pg_temp.hashed_null(v text) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$ SELECT pg_temp.hashed_null(convert_to(v, 'UTF8')) $$;
SELECT is_empty($$
	SELECT entry_id, hash FROM loyalty.ledger l, LATERAL (SELECT coalesce((SELECT p.hash FROM loyalty.ledger p WHERE (p.member_id, p.currency) = (l.member_id, l.currency) AND p.entry_id < l.entry_id
			ORDER BY p.entry_id DESC LIMIT 1), decode(repeat('00', 32), 'hex')) AS before) b
	WHERE member_id NOT BETWEEN 610 AND 616 AND hash IS DISTINCT FROM sha256('\x01' || before || pg_temp.hashed(member_id) || pg_temp.hashed(entry_id) || pg_temp.hashed_null(currency)
		|| pg_temp.hashed(array_position('{earn,redeem,hold,capture,release,reverse,activate,transfer_out,transfer_in,adjust,expire}', kind)::bigint)
		|| pg_temp.hashed(points) || pg_temp.hashed(requested) || pg_temp.hashed(available) || pg_temp.hashed(effective_at) || pg_temp.hashed(recorded_at)
		|| pg_temp.hashed_null(available_at) || pg_temp.hashed_null(expires_at) || pg_temp.hashed_null(hold_until) || pg_temp.hashed_null(extends_to)
		|| pg_temp.hashed_null(CASE WHEN never_expires THEN 'infinity' ELSE expires_by END)
		|| pg_temp.hashed(coalesce(target_entry_id, 0)) || pg_temp.hashed(coalesce(counterparty_id, 0))
		|| pg_temp.hashed_null(CASE WHEN salt IS NOT NULL THEN sha256('\x01' || pg_temp.hashed_null(salt) || pg_temp.hashed_null(reference) || pg_temp.hashed_null(reason)
			|| pg_temp.hashed_null(details::text) || pg_temp.hashed_null(idempotency_key) || pg_temp.hashed_null(fingerprint)) END)
		|| pg_temp.hashed_null(loyalty.points_lots_send(lots)) || CASE WHEN home_id <> 0 THEN pg_temp.hashed(home_id) ELSE '' END)
	$$, 'the hash of an entry is that of the one before it and of every column');

-- An activity that was undone counts again: the very first of a wallet, and any of many.
SELECT FROM loyalty.create_currency('slide_burn', 'Points', 'sliding', '10 days', qualifying_kinds => '{redeem}', time_zone => 'UTC');
CREATE FUNCTION pg_temp.undone(m bigint, burns int, again int) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
	undone bigint[];
BEGIN
	PERFORM loyalty.earn(m, 100, 'slide_burn', '2024-01-01');
	FOR i IN 1 .. burns LOOP
		undone[i] := (SELECT entry_id FROM loyalty.redeem(m, 1, 'slide_burn', timestamptz '2024-01-02' + i * interval '1 hour'));
	END LOOP;
	FOR i IN 1 .. burns LOOP
		undone[i] := (SELECT entry_id FROM loyalty.reverse(m, undone[i], effective_at => '2024-01-04'));
	END LOOP;
	PERFORM loyalty.reverse(m, undone[again], effective_at => '2024-01-05') WHERE again > 0;
	RETURN (SELECT max(expires_at) FROM loyalty.lots(m, 'slide_burn', as_of => '2024-01-05'));
END $$;
SELECT is(pg_temp.undone(m, burns, again), expires, format('%s of %s redemptions that were undone counts again', again, burns)) FROM (VALUES
	(751, 1, 0, timestamptz '2024-01-11'), (752, 1, 1, '2024-01-12 01:00'), (753, 20, 0, '2024-01-11'), (754, 20, 1, '2024-01-12 01:00'),
	(755, 20, 9, '2024-01-12 09:00'), (756, 20, 20, '2024-01-12 20:00')) v(m, burns, again, expires) ORDER BY m;

-- A refund is undone when its lots are joined with others: the first lot and one point of the second are taken again,
-- and nothing of anybody else's by the policy.
SELECT FROM loyalty.create_currency('in_lot_joined', clawback_policy => 'within_lot', time_zone => 'UTC');
CREATE FUNCTION pg_temp.undone_among_joined(m bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	burnt bigint;
	refund bigint;
BEGIN
	PERFORM loyalty.earn(m, 10, 'in_lot_joined', '2024-01-01'), loyalty.earn(m, 5, 'in_lot_joined', '2024-01-01 01:00');
	burnt := (SELECT entry_id FROM loyalty.redeem(m, 12, 'in_lot_joined', '2024-01-02'));
	refund := (SELECT entry_id FROM loyalty.reverse(m, burnt, effective_at => '2024-01-03'));
	PERFORM loyalty.earn(m, 1, 'in_lot_joined', timestamptz '2024-01-04' + i * interval '1 hour') FROM generate_series(1, 70) i;
	PERFORM loyalty.reverse(m, refund, 11, effective_at => '2024-01-31');
	RETURN (SELECT available FROM loyalty.balance(m, 'in_lot_joined', as_of => '2024-01-31'));
END $$;
SELECT is(pg_temp.undone_among_joined(757), 74::bigint, 'a refund into lots that were joined is undone');
SELECT throws_matching('SELECT loyalty.redeem(757, 75, ''in_lot_joined'', ''2024-01-31'')', 'not enough points for redeem of 75', 'and no more is there');
CREATE FUNCTION pg_temp.detail_of(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE call;
	RETURN 'no refusal';
EXCEPTION WHEN SQLSTATE 'LY101' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;
SELECT FROM loyalty.earn(758, 10, 'in_lot_joined', '2024-01-01');
SELECT FROM loyalty.earn(758, 5, 'in_lot_joined', '2024-01-01', available_at => '2024-03-01');
SELECT FROM loyalty.hold(758, 3, '2024-02-10', 'in_lot_joined', '2024-02-01');
SELECT alike(pg_temp.detail_of($$SELECT loyalty.redeem(758, 8, 'in_lot_joined', '2024-02-02')$$), '%: 7 available, 5 pending, 3 held.', 'a refusal says what is there');

-- explain_entry() and statement() add up
SELECT is_empty($$SELECT l.entry_id FROM loyalty.ledger l WHERE NOT EXISTS (SELECT FROM loyalty.explain_entry(l.member_id, l.entry_id))$$, 'explain_entry() explains every entry');
SELECT is_empty($$SELECT w.member_id FROM loyalty.wallet w, LATERAL (SELECT sum(points) AS points, count(*) AS n FROM loyalty.statement(w.member_id, w.currency)) s,
	LATERAL (SELECT sum(points) AS points, count(*) AS n FROM loyalty.ledger l WHERE (l.member_id, l.currency) = (w.member_id, w.currency)) l WHERE (s.points, s.n) IS DISTINCT FROM (l.points, l.n)$$,
	'statement() has every entry');

SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all() finds nothing at the end');
SELECT is(loyalty.rebuild_wallets_of(ARRAY(SELECT DISTINCT member_id FROM loyalty.ledger ORDER BY 1)), 0::bigint, 'rebuild_wallets_of() has nothing to do');
SELECT * FROM finish();
