// node completions.mjs <package> <scenario> <base URL>: text completions and embeddings; prints what came of it as JSON.
const [name, scenario, baseURL] = process.argv.slice(2);
const { default: OpenAI } = await import(name);
const client = new OpenAI({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", maxRetries: 0 });

const model = "openai/gpt-4o";
const quick = { ttft_ms: 5, gap_ms: 1, tokens: 8 };
const prompt = "What does the heron whisper to the weir?";
const ask = (simulate, more) => ({ model, prompt, simulate: { ...quick, ...simulate }, ...more });
const embed = (more) => ({ model, input: ["the river", "the weir"], ...more });

async function failure(action) {
  try {
    await action();
  } catch (error) {
    const { status, code, param } = error;
    return { class: error.constructor.name, status, code, param };
  }
  return { class: null };
}

const scenarios = {
  async stream() {
    let text = "";
    let usage = null;
    const options = { stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client.completions.create(ask({}, options))) {
      text += chunk.choices[0]?.text ?? "";
      usage = chunk.usage ?? usage;
    }
    return { text, completionTokens: usage.completion_tokens };
  },
  async whole() {
    const whole = await client.completions.create(ask({}));
    return { text: whole.choices[0].text, completionTokens: whole.usage.completion_tokens };
  },
  async broken() {
    let text = "";
    const failed = await failure(async () => {
      for await (const chunk of await client.completions.create(ask({ reset_after: 3 }, { stream: true })))
        text += chunk.choices[0].text;
    });
    return { ...failed, text };
  },
  async failed() {
    return failure(() => client.completions.create(ask({ status: 500 }, { stream: true })));
  },
  // The SDK asks for base64 unless it is told another encoding, and decodes it.
  async embeddings() {
    const numbers = await client.embeddings.create(embed({ encoding_format: "float" }));
    const usual = await client.embeddings.create(embed());
    const raw = await client.embeddings.create(embed({ encoding_format: "base64" }));
    const vectors = (answer) => answer.data.map((each) => Array.from(each.embedding));
    return {
      numbers: vectors(numbers),
      usual: vectors(usual),
      isText: typeof raw.data[0].embedding === "string",
      promptTokens: usual.usage.prompt_tokens,
    };
  },
  async refused() {
    return failure(() => client.embeddings.create({ model }));
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
