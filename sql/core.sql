--
-- core: setup(), the table layout, check_all()
--
CREATE EXTENSION loyalty CASCADE;
-- the extension itself brings no table
SELECT count(*) AS tables FROM pg_catalog.pg_class c
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'S', 'v', 'm');

-- setup() may be repeated
SELECT loyalty.setup() IS NOT NULL AS done;
SELECT loyalty.setup() IS NOT NULL AS done;
SELECT room, version FROM loyalty.layout WHERE room = 'core';
SELECT count(*) AS violations FROM loyalty.check_all();

-- a job run begins as running and counts from 0
INSERT INTO loyalty.job_run (job, unit) VALUES ('example', 'wallets')
RETURNING job, status, done, total, unit, finished_at;
\set VERBOSITY terse
INSERT INTO loyalty.job_run (job, unit, status) VALUES ('example', 'wallets', 'lost');
\set VERBOSITY default

-- a table of settings tells every session that it changed; only so
CREATE TABLE setting (name text);
CREATE TRIGGER forget_cached BEFORE INSERT ON setting
	FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();
INSERT INTO setting VALUES ('x');
DROP TRIGGER forget_cached ON setting;
CREATE TRIGGER forget_cached AFTER INSERT ON setting
	FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();
INSERT INTO setting VALUES ('x');
SELECT loyalty.forget_cached();

-- writing functions are for those to whom they were granted
CREATE ROLE loyalty_stranger;
GRANT USAGE ON SCHEMA loyalty TO loyalty_stranger;
SET ROLE loyalty_stranger;
\set VERBOSITY terse
SELECT loyalty.setup();
\set VERBOSITY default
RESET ROLE;
DROP OWNED BY loyalty_stranger;
DROP ROLE loyalty_stranger;
