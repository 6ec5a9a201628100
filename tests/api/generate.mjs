// Documents by chance for a schema: mostly valid, with fragments, variables and directives, and variables to go with them.

import {
  getNamedType, getNullableType, isAbstractType, isCompositeType, isEnumType, isInputObjectType, isLeafType, isListType,
  isNonNullType, isRequiredArgument, isRequiredInputField,
} from 'graphql';

const DEPTH_MAX = 4;

export class Generator {
  constructor(schema, random) {
    this.schema = schema;
    this.random = random;
  }

  /** {query, variables}; now and then something in it is wrong on purpose. */
  document() {
    this.fragments = [];
    this.variables = new Map();
    this.aliases = 0;
    const kind = this.random.pick(['query', 'query', 'query', 'query', 'mutation', 'subscription']);
    const root = { query: 'Query', mutation: 'Mutation', subscription: 'Subscription' }[kind];
    const body = kind === 'subscription' ? this.#oneField(root) : this.#selections(this.schema.getType(root), 0);
    const definitions = [...this.variables].map(([name, { type, fallback }]) => `$${name}: ${type}${fallback}`);
    const directives = kind === 'subscription' ? '' : this.#mark();
    const head = `${kind} Q${definitions.length > 0 ? `(${definitions.join(', ')})` : ''}${directives}`;
    const fragments = this.fragments.map(({ name, on, body: inside }) => `fragment ${name} on ${on} ${inside}`);
    return { query: [`${head} ${body}`, ...fragments].join('\n'), variables: this.#values() };
  }

  #oneField(root) {
    return `{ ${this.#field(this.random.pick(Object.values(this.schema.getType(root).getFields())), 0)} }`;
  }

  #selections(type, depth) {
    const parts = [];
    const fields = isAbstractType(type) && !type.getFields ? [] : Object.values(type.getFields());
    const count = 1 + this.random.below(depth === 0 ? 4 : 3);
    for (let i = 0; i < count; ++i) {
      const kind = this.random.below(10);
      if (kind === 0 || fields.length === 0) parts.push('__typename');
      if (kind === 1 || (fields.length === 0 && kind < 7)) parts.push(this.#inlineFragment(type, depth));
      else if (kind === 2 && this.fragments.length < 6) parts.push(this.#spread(type, depth));
      else if (fields.length > 0) parts.push(this.#field(this.random.pick(fields), depth));
    }
    return `{ ${parts.join(' ')} }`;
  }

  #field(field, depth) {
    const type = getNamedType(field.type);
    if (isCompositeType(type) && depth >= DEPTH_MAX) return '__typename';
    const args = this.#arguments(field.args);
    const alias = this.#alias(args);
    const directives = this.random.once(12) ? ` @again(value: [RED])${this.random.once(2) ? ' @again' : ''}` : this.#mark();
    const below = isCompositeType(type) ? ` ${this.#selections(type, depth + 1)}` : '';
    return alias + field.name + args + directives + below;
  }

  /** Mostly one of its own where arguments may differ, now and then one that meets another field. */
  #alias(args) {
    if (args !== '' && !this.random.once(8)) return `x${this.aliases++}: `;
    return this.random.once(12) ? `${this.random.pick(['a', 'b', 'c', 'name', 'id'])}: ` : '';
  }

  #possible(type) {
    const wrong = this.random.once(40);
    const all = ['Person', 'Company', 'Robot', 'Node', 'Named', 'Owner', 'Thing'].map((name) => this.schema.getType(name));
    if (wrong) return this.random.pick(all);
    const objects = isAbstractType(type) ? this.schema.getPossibleTypes(type) : [type];
    const fitting = all.filter((other) => {
      const others = isAbstractType(other) ? this.schema.getPossibleTypes(other) : [other];
      return others.some((one) => objects.includes(one));
    });
    return fitting.length > 0 ? this.random.pick(fitting) : type;
  }

  #inlineFragment(type, depth) {
    if (this.random.once(4)) return `...${this.#mark()} ${this.#selections(type, depth + 1)}`;
    const on = this.#possible(type);
    return `... on ${on.name}${this.#mark()} ${this.#selections(on, depth + 1)}`;
  }

  #spread(type, depth) {
    if (this.random.once(30)) return '...Nowhere';
    const on = this.#possible(type);
    const known = this.fragments.filter((fragment) => fragment.on === on.name && fragment.body !== undefined);
    if (known.length > 0 && this.random.once(2)) return `...${this.random.pick(known).name}`;
    const fragment = { name: `F${this.fragments.length}`, on: on.name, body: undefined };
    this.fragments.push(fragment);
    fragment.body = this.#selections(on, depth + 1);
    return `...${fragment.name}${this.#mark()}`;
  }

  #mark() {
    const kind = this.random.below(16);
    if (kind === 0) return ` @mark(text: "x"${this.random.once(2) ? ', number: 4' : ''})`;
    if (kind === 1) return ` @${this.random.pick(['skip', 'include'])}(if: ${this.random.pick(['true', 'false'])})`;
    return '';
  }

  #arguments(definitions) {
    const parts = [];
    for (const argument of definitions) {
      const given = isRequiredArgument(argument) ? !this.random.once(40) : this.random.once(2);
      if (given) parts.push(`${argument.name}: ${this.#value(argument.type, 0, true)}`);
    }
    return parts.length > 0 ? `(${parts.join(', ')})` : '';
  }

  // --- values

  #value(type, depth, mayBeVariable) {
    if (this.random.once(50)) return this.random.pick(['1', '"x"', '1.5', 'null', 'RED', '[]', '{}', 'true', '[[1]]', '{ id: 1 }']);
    if (mayBeVariable && this.random.once(5)) return this.#variable(type);
    if (isNonNullType(type)) return this.#value(type.ofType, depth, false);
    if (this.random.once(15)) return 'null';
    if (isListType(type)) return this.#list(type.ofType, depth);
    if (isInputObjectType(type)) return this.#object(type, depth);
    if (isEnumType(type)) return this.random.pick(['RED', 'GREEN', 'BLUE']);
    return this.#scalar(type.name);
  }

  #list(items, depth) {
    if (this.random.once(5)) return this.#value(items, depth + 1, false);
    const values = Array.from({ length: this.random.below(4) }, () => this.#value(items, depth + 1, true));
    return `[${values.join(', ')}]`;
  }

  #object(type, depth) {
    const parts = [];
    for (const field of Object.values(type.getFields())) {
      const isInput = isInputObjectType(getNamedType(field.type));
      const given = isRequiredInputField(field) ? !this.random.once(40) : depth < 3 && this.random.once(isInput ? 4 : 3);
      if (given) parts.push(`${field.name}: ${this.#value(field.type, depth + 1, true)}`);
    }
    if (this.random.once(60)) parts.push('surprise: 1');
    return `{ ${parts.join(', ')} }`;
  }

  #scalar(name) {
    switch (name) {
      case 'Int':
        return this.random.pick(['0', '-1', '42', '2147483647', '-2147483648']);
      case 'Float':
        return this.random.pick(['0', '1.5', '-2e3', '7', '1.0']);
      case 'Boolean':
        return this.random.pick(['true', 'false']);
      case 'ID':
        return this.random.pick(['1', '"a"', '"UmVtb3Rl"']);
      case 'Any':
        return this.random.pick(['{ a: [1, "x", RED], b: { c: null } }', '[1, [2]]', '"text"', '3', 'RED', 'true']);
      default:
        return this.random.pick(['"text"', '""', '"\\u00e4 \\n \\"q\\""', '"""block\n    text"""']);
    }
  }

  // --- variables

  #variable(type) {
    const known = [...this.variables].filter(([, variable]) => variable.type === String(type));
    if (known.length > 0 && this.random.once(2)) return `$${this.random.pick(known)[0]}`;
    const name = `v${this.variables.size}`;
    const looser = isNonNullType(type) && this.random.once(4) ? getNullableType(type) : type;
    const variable = { type: String(looser), shape: looser, fallback: '' };
    this.variables.set(name, variable);
    if (this.random.once(3)) variable.fallback = ` = ${this.#constant(looser)}`;
    return `$${name}`;
  }

  #constant(type) {
    const before = this.variables;
    this.variables = new Map();
    let text = this.#value(type, 1, false);
    if (text.includes('$')) text = 'null';
    this.variables = before;
    return text;
  }

  #values() {
    const values = {};
    for (const [name, { shape }] of this.variables) {
      if (!this.random.once(4)) values[name] = this.#json(shape, 0);
    }
    return values;
  }

  #json(type, depth) {
    if (this.random.once(25)) return this.random.pick([null, 1, 'x', 1.5, [], {}, true, [null], { surprise: 1 }]);
    if (isNonNullType(type)) return this.#json(type.ofType, depth);
    if (this.random.once(12)) return null;
    if (isListType(type)) {
      return this.random.once(5)
        ? this.#json(type.ofType, depth + 1)
        : Array.from({ length: this.random.below(4) }, () => this.#json(type.ofType, depth + 1));
    }
    if (isInputObjectType(type)) return this.#jsonObject(type, depth);
    if (isLeafType(type) && isEnumType(type)) return this.random.pick(['RED', 'GREEN', 'BLUE', 'REDD']);
    return this.#jsonScalar(type.name);
  }

  #jsonObject(type, depth) {
    const value = {};
    for (const field of Object.values(type.getFields())) {
      const given = isRequiredInputField(field) ? !this.random.once(20) : depth < 3 && this.random.once(3);
      if (given) value[field.name] = this.#json(field.type, depth + 1);
    }
    return value;
  }

  #jsonScalar(name) {
    switch (name) {
      case 'Int':
        return this.random.pick([0, -1, 42, 2147483647, 2147483648]);
      case 'Float':
        return this.random.pick([0, 1.5, -2000, 7]);
      case 'Boolean':
        return this.random.pick([true, false]);
      case 'ID':
        return this.random.pick([1, 'a']);
      case 'Any':
        return this.random.pick([{ a: [1, 'x'] }, [1], 'text', 3]);
      default:
        return this.random.pick(['text', '', 'ä']);
    }
  }
}
