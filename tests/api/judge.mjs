// Runs graphql_judge (main.cpp) and reads what it says.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('.', import.meta.url));
const judge = join(folder, '../../build/release/tests/graphql_judge');

export const schemaFile = join(folder, 'schema.graphql');
export const dataFile = join(folder, 'data.json');
export const sdl = readFileSync(schemaFile, 'utf8');
export const data = JSON.parse(readFileSync(dataFile, 'utf8'));

/** One answer for each request. */
export function answers(requests) {
  const input = requests.map((one) => JSON.stringify(one)).join('\n');
  const output = execFileSync(judge, ['answer', schemaFile, dataFile], { input, maxBuffer: 1 << 30, encoding: 'utf8' });
  return output.trimEnd().split('\n').map((line) => JSON.parse(line));
}

export function printed() {
  return execFileSync(judge, ['print', schemaFile], { encoding: 'utf8' });
}

/** Starts the server; {url, fetchFn, stop}. */
export async function serve() {
  const scratch = mkdtempSync(join(tmpdir(), 'postern-api.'));
  const caFile = join(scratch, 'ca.pem');
  const server = spawn(judge, ['serve', schemaFile, dataFile, caFile], { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = () => {
    server.kill();
    rmSync(scratch, { recursive: true, force: true });
  };
  const port = await new Promise((resolve, reject) => {
    server.stdout.once('data', (line) => resolve(Number(String(line).trim())));
    server.once('exit', (code) => reject(new Error(`graphql_judge ended with ${code}`)));
  });
  const ca = readFileSync(caFile);
  return { url: `https://127.0.0.1:${port}/graphql`, fetchFn: (url, init) => fetchOver(ca, url, init), stop };
}

/** fetch() for a server with a root of its own. */
function fetchOver(ca, url, init = {}) {
  return new Promise((resolve, reject) => {
    const options = { ca, method: init.method ?? 'GET', headers: Object.fromEntries(new Headers(init.headers)) };
    const call = request(url, options, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const headers = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
        resolve(new Response(Buffer.concat(parts), { status: response.statusCode, headers }));
      });
    });
    call.on('error', reject);
    call.end(init.body);
  });
}
