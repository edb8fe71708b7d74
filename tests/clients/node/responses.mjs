// node responses.mjs <package> <scenario> <base URL> <URL of the provider's statistics>: what the SDK makes of responses.
const [name, scenario, baseURL, statistics] = process.argv.slice(2);
const { default: OpenAI } = await import(name);

let requests = 0;
const counted = (...request) => {
  requests += 1;
  return fetch(...request);
};
const client = new OpenAI({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", maxRetries: 1, fetch: counted });

const quick = { ttft_ms: 5, gap_ms: 1, tokens: 8 };
const endless = { ttft_ms: 5, gap_ms: 10, tokens: 100000 };
const input = "What does the heron whisper to the weir?";
const ask = (simulate, more) => ({ model: "openai/gpt-4o", input, simulate, ...more });
const tools = [{ type: "function", name: "lookup", parameters: { type: "object" }, strict: false }];

const aborts = async () => (await (await fetch(statistics)).json()).aborted;

async function sawAbort(before) {
  for (const end = Date.now() + 10000; Date.now() < end; ) {
    if ((await aborts()) > before) return true;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return false;
}

async function failure(action) {
  const seen = { text: "" };
  try {
    await action(seen);
  } catch (error) {
    const { status, code, message } = error;
    return { class: error.constructor.name, status: status ?? null, code: code ?? null, message, requests, ...seen };
  }
  return { class: null, requests, ...seen };
}

const broken = (fault) =>
  failure(async (seen) => {
    for await (const event of await client.responses.create(ask({ ...quick, [fault]: 3 }, { stream: true }))) {
      if (event.type === "response.output_text.delta") seen.text += event.delta;
    }
  });

// A response of which a client has read six events, numbered from 0.
async function left(more) {
  const numbers = [];
  let id;
  for await (const event of await client.responses.create(ask(quick, { stream: true, ...more }))) {
    id ??= event.response.id;
    if (numbers.push(event.sequence_number) === 6) break;
  }
  return { id, numbers };
}

const scenarios = {
  async stream() {
    let text = "";
    const types = [];
    const numbers = [];
    for await (const event of await client.responses.create(ask(quick, { stream: true }))) {
      types.push(event.type);
      numbers.push(event.sequence_number);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    return { text, numbers, first: types[0], last: types.at(-1) };
  },
  async whole() {
    const { data, response } = await client.responses.create(ask(quick)).withResponse();
    return { text: data.output_text, tokens: data.usage.output_tokens, upstream: response.headers.get("x-upstream") };
  },
  async accumulated() {
    const stream = client.responses.stream(ask(quick));
    let text = "";
    stream.on("response.output_text.delta", (event) => (text += event.delta));
    const final = await stream.finalResponse();
    return { text, whole: final.output_text, status: final.status };
  },
  async tools() {
    const stream = client.responses.stream(ask({ ...quick, tool_calls: 2, reasoning_tokens: 3 }, { tools }));
    const { output } = await stream.finalResponse();
    return output.map(({ type, name, arguments: text }) => ({ type, name, limit: text && JSON.parse(text).limit }));
  },
  error_after: () => broken("error_after"),
  reset_after: () => broken("reset_after"),
  cut_after: () => broken("cut_after"),
  close_after: () => broken("close_after"),
  helper: () => failure(() => client.responses.stream(ask({ ...quick, cut_after: 3 })).finalResponse()),
  unknown: () => failure(() => client.responses.create({ ...ask(quick), model: "no-such-model" })),
  invalid: () => failure(() => client.responses.create({ ...ask(quick), input: 7 })),
  failed: () => failure(() => client.responses.create(ask({ status: 500 }, { stream: true }))),
  async resumed() {
    const { id, numbers } = await left({ background: true, store: false });
    for await (const { sequence_number } of await client.responses.retrieve(id, { stream: true, starting_after: 5 })) {
      numbers.push(sequence_number);
    }
    const helped = [];
    const stream = client.responses.stream({ response_id: id, starting_after: 5 });
    stream.on("event", ({ sequence_number }) => helped.push(sequence_number));
    const [final, told] = [await stream.finalResponse(), await client.responses.retrieve(id)];
    return { numbers, helped, final: final.output_text, told: told.output_text };
  },
  async kept() {
    const { id } = await client.responses.create(ask(quick));
    const told = await client.responses.retrieve(id);
    const { data } = await client.responses.inputItems.list(id);
    await client.responses.delete(id);
    const { status } = await failure(() => client.responses.retrieve(id));
    return { text: told.output_text, input: data[0].content[0].text, status };
  },
  async cancelled() {
    const { id } = await left({ background: true, simulate: endless });
    return [(await client.responses.cancel(id)).status, (await client.responses.retrieve(id)).status];
  },
  async break() {
    const before = await aborts();
    let tokens = 0;
    for await (const event of await client.responses.create(ask(endless, { stream: true }))) {
      if (event.type === "response.output_text.delta" && ++tokens === 5) break;
    }
    return { tokens, aborted: await sawAbort(before) };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
process.exit(0);
