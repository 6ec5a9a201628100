// The reference implementation as a judge: thousands of documents, valid and not, have to get the same verdict, the same
// errors at the same places, and the same answer.
//
//   node oracle.mjs [--seed N] [--documents N]

import { isDeepStrictEqual, parseArgs } from 'node:util';

import {
  buildClientSchema, buildSchema, execute, getIntrospectionQuery, lexicographicSortSchema, NoFragmentCyclesRule,
  OverlappingFieldsCanBeMergedRule, parse, printSchema, specifiedRules, validate,
} from 'graphql';

import { Generator } from './generate.mjs';
import { answers, data, printed, sdl } from './judge.mjs';
import { mutate } from './mutate.mjs';
import { Random } from './random.mjs';

const { values: options } = parseArgs({
  options: { seed: { type: 'string', default: '1' }, documents: { type: 'string', default: '6000' } },
});

const schema = buildSchema(sdl);
for (const field of Object.values(schema.getType('Echo').getFields())) {
  field.resolve = (_source, args) => JSON.stringify(args);
}

// Two rules may find another pair, or another way around a cycle, than the reference does: what counts is whether there is one.
const LOOSE = [
  { rule: OverlappingFieldsCanBeMergedRule, pattern: /^Fields ".*" conflict because/s },
  { rule: NoFragmentCyclesRule, pattern: /^Cannot spread fragment/ },
];
const EXACT = specifiedRules.filter((rule) => LOOSE.every((loose) => loose.rule !== rule));

const failures = [];
const counted = { syntax: 0, invalid: 0, executed: 0, withErrors: 0 };

function sorted(errors) {
  return errors
    .map(({ message, locations }) => JSON.stringify([message, locations ?? []]))
    .sort();
}

function expectedErrors(document) {
  const exact = sorted(validate(schema, document, EXACT, { maxErrors: 1000 }));
  const loose = LOOSE.map(({ rule }) => validate(schema, document, [rule], { maxErrors: 1 }).length > 0);
  return { exact, loose };
}

function foundErrors(errors) {
  const exact = errors.filter(({ message }) => LOOSE.every(({ pattern }) => !pattern.test(message)));
  const loose = LOOSE.map(({ pattern }) => errors.some(({ message }) => pattern.test(message)));
  return { exact: sorted(exact), loose };
}

/** The fields of Echo are JSON in a string: what counts is what it says. */
function plain(value) {
  if (typeof value === 'string' && value.startsWith('{')) return plain(JSON.parse(value));
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, plain(member)]));
}

function expectedAnswer(document, variables) {
  const result = execute({ schema, document, rootValue: data, variableValues: variables });
  return JSON.parse(JSON.stringify(result));
}

function compare({ query, variables }, found) {
  let document;
  try {
    document = parse(query);
  } catch (error) {
    ++counted.syntax;
    const expected = { message: error.message, locations: error.locations };
    return isDeepStrictEqual(expected, found.syntax) ? undefined : { expected, found };
  }
  if (found.syntax) return { expected: 'it parses', found };
  let expected;
  try {
    expected = expectedErrors(document);
  } catch {
    return undefined; // the reference gave up: a condition of a subscription that depends on a variable
  }
  if (expected.exact.length > 0 || expected.loose.includes(true)) {
    ++counted.invalid;
    const mine = foundErrors(found.invalid ?? []);
    return isDeepStrictEqual(expected, mine) ? undefined : { expected, found: mine };
  }
  if (found.invalid) return { expected: 'it is valid', found: found.invalid };
  if (document.definitions.filter(({ kind }) => kind === 'OperationDefinition').length !== 1) return undefined;
  const answer = plain(expectedAnswer(document, variables));
  ++counted.executed;
  if (answer.errors) ++counted.withErrors;
  return isDeepStrictEqual(answer, plain(found)) ? undefined : { expected: answer, found: plain(found) };
}

function makeRequests(seed, count) {
  const random = new Random(seed);
  const generator = new Generator(schema, random);
  return Array.from({ length: count }, (_, i) => {
    const { query, variables } = generator.document();
    return { query: i % 2 === 0 ? query : mutate(query, random), variables };
  });
}

function checkDocuments() {
  const requests = makeRequests(Number(options.seed), Number(options.documents));
  const found = answers(requests);
  if (found.length !== requests.length) throw new Error(`${found.length} answers for ${requests.length} requests`);
  requests.forEach((one, i) => {
    const failure = compare(one, found[i]);
    if (failure) failures.push({ ...one, ...failure });
  });
}

function check(name, expected, found) {
  if (expected !== found) failures.push({ query: name, expected, found });
}

function checkSchema() {
  const [introspection] = answers([
    {
      query: getIntrospectionQuery({
        specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true,
      }),
      variables: {},
    },
  ]);
  const text = (one) => printSchema(lexicographicSortSchema(one));
  const fresh = buildSchema(sdl);
  check('introspection', text(fresh), text(buildClientSchema(introspection.data)));
  check('printed schema', text(fresh), text(buildSchema(printed())));
}

checkSchema();
checkDocuments();
for (const failure of failures.slice(0, 5)) console.error(`oracle: ${JSON.stringify(failure, null, 2)}`);
const { syntax, invalid, executed, withErrors } = counted;
console.log(
  `oracle: seed ${options.seed}, ${options.documents} documents: ${syntax} not GraphQL, ${invalid} invalid, ${executed} executed ` +
    `(${withErrors} with errors); ${failures.length} differ`,
);
const isUseful = Math.min(syntax, invalid, executed, withErrors) >= Number(options.documents) / 100;
if (!isUseful) console.error('oracle: too few documents of some kind; the generator has gone astray');
process.exitCode = failures.length === 0 && isUseful ? 0 : 1;
