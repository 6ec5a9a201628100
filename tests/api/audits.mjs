// The server audit of the package graphql-http: every audit has to be ok, a warning is a failure too.

import { auditServer } from 'graphql-http';

import { serve } from './judge.mjs';

const server = await serve();
let results;
try {
  results = await auditServer({ url: server.url, fetchFn: server.fetchFn });
} finally {
  server.stop();
}
const failed = results.filter((result) => result.status !== 'ok');
for (const { id, name, status, reason } of failed) console.error(`audits: ${status} ${id} ${name}: ${reason}`);
console.log(`audits: ${results.length - failed.length} of ${results.length} ok`);
process.exitCode = failed.length === 0 && results.length > 0 ? 0 : 1;
