// Changes a document a little, token by token: what comes out is often wrong, in ways that people and attackers are wrong.

const TOKEN = /"""(?:[^"]|"(?!""))*"""|"(?:\\.|[^"\\\n])*"|\.\.\.|[$@]?[A-Za-z_][A-Za-z0-9_]*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[^\s,]/g;

const WORDS = [
  'id', 'name', 'nam', 'age', 'friends', 'staff', 'things', 'person', 'echo', 'filter', 'Person', 'Persn', 'Named', 'Thing',
  'Int', 'Color', 'Filter', 'RED', 'true', 'null', '$v0', '$v1', '$nothing', '@skip', '@include', '@mark', '@again', '@no',
  'F0', 'F1', 'on', 'query', 'fragment', '__typename', '__schema', '1', '1.5', '"x"', '!', '(', ')', '{', '}', '[', ']', ':', '=',
  '...', '|', '&', '...F0', '...F1', '... on Person', '... on Robot', '@skip(if: true)', '@include(if: $v0)', 'a: name', 'a: id',
  'id: 1', 'query X { __typename }', '{ __typename }', 'fragment F0 on Person { id }', 'type T { a: Int }', '\u00e4', '?', '"open',
];

export function mutate(text, random) {
  const tokens = text.match(TOKEN) ?? [];
  for (let changes = 1 + random.below(2); changes > 0; --changes) {
    const at = random.below(tokens.length + 1);
    switch (random.below(14)) {
      case 0:
        tokens.splice(at, 1);
        break;
      case 1:
        tokens.splice(at, 0, tokens[random.below(tokens.length)] ?? '{');
        break;
      case 2:
        tokens.splice(at, 0, random.pick(WORDS));
        break;
      case 3:
        tokens[at] = random.pick(WORDS);
        break;
      case 4:
        tokens[at] = tokens[random.below(tokens.length)] ?? '}';
        break;
      default:
        // mostly of the same kind, so that the grammar still holds
        tokens[at] = sameKind(tokens[at] ?? 'id', random);
    }
  }
  return tokens.join(' ');
}

function sameKind(token, random) {
  const pattern = /^\$/.test(token) ? /^\$/ : /^@/.test(token) ? /^@\w+$/ : /^\w+$/;
  return random.pick(WORDS.filter((word) => pattern.test(word)));
}
