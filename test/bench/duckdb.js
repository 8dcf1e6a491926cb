// Runs SQL in DuckDB and prints as test/bench/paired wants it.
//
//	node duckdb.js DATABASE THREADS FILE.sql [load]
//
// Rows come as psql -At prints them, then "Time: 12.3 ms".  Each statement runs
// once before it is timed, so that what DuckDB caches is warm; with "load" it
// runs once only, and may read standard input as '/dev/stdin'.  Statements end
// with a semicolon at the end of a line.  NODE_PATH says where
// @duckdb/node-api is (see duckdb.sh).
'use strict';

const fs = require('fs');
const { DuckDBInstance } = require('@duckdb/node-api');

async function main([database, threads, file, load]) {
	const instance = await DuckDBInstance.create(database, { threads });
	const connection = await instance.connect();
	const statements = fs.readFileSync(file, 'utf8').split(/;[ \t]*$/m).filter((text) => text.trim() !== '');
	for (const text of statements) {
		if (!load) await connection.runAndReadAll(text);
		const began = process.hrtime.bigint();
		const result = await connection.runAndReadAll(text);
		const rows = result.getRows();
		const took = Number(process.hrtime.bigint() - began) / 1e6;
		if (load) continue;
		for (const row of rows) console.log(row.map((cell) => (cell === null ? '' : String(cell))).join('|'));
		console.log(`Time: ${took.toFixed(3)} ms`);
	}
	connection.closeSync();
	instance.closeSync();
}

main(process.argv.slice(2)).catch((error) => {
	console.error(String(error.message || error));
	process.exit(1);
});
