// node ai_sdk_responses.mjs <AI SDK> <its OpenAI provider> <base URL>: what the AI SDK's `openai()` makes of responses,
// scenario by scenario.
const [sdk, provider, baseURL] = process.argv.slice(2);
const { generateText, jsonSchema, streamText, tool } = await import(sdk);
const { createOpenAI } = await import(provider);

globalThis.AI_SDK_LOG_WARNINGS = false;
const usual = "openai/gpt-4o";
const prompt = "What does the heron whisper to the weir?";
const tools = { lookup: tool({ inputSchema: jsonSchema({ type: "object" }) }) };

function ask(simulate, model = usual) {
  const told = model === usual ? { simulate: { ttft_ms: 5, gap_ms: 1, tokens: 8, ...simulate } } : {};
  const asTold = (url, options) =>
    fetch(url, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ...told }) });
  const openai = createOpenAI({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", fetch: asTold });
  return { model: openai(model), prompt, maxRetries: 0 };
}

async function whole(settings) {
  const { text, usage } = await generateText(settings);
  return { text, tokens: usage.outputTokens };
}

async function parts(settings, seen) {
  for await (const part of streamText({ ...settings, onError: () => {} }).fullStream) {
    if (part.type === "text-delta") seen.push(part.text);
    if (part.type === "error") throw part.error;
  }
}

async function stream(settings) {
  const seen = [];
  await parts(settings, seen);
  return seen.filter((part) => part);
}

async function called(settings) {
  const [call] = await streamText({ ...settings, tools }).toolCalls;
  return call.input;
}

async function failure(settings, asking) {
  const seen = [];
  try {
    await asking(settings, seen);
  } catch (error) {
    return { status: error.statusCode ?? null, message: error.message, text: seen.join("") };
  }
  return { status: 200, message: "", text: seen.join("") };
}

const told = {
  whole: await whole(ask()),
  stream: await stream(ask()),
  thoughts: await stream(ask({ reasoning_tokens: 3 })),
  call: await called(ask({ tool_calls: 1 })),
  fallback: await whole(ask({}, "refused-pair")),
  fallback_streamed: await stream(ask({}, "refused-pair")),
  hedge_streamed: await stream(ask({}, "slow-pair")),
  failed: await failure(ask({ status: 503 }), whole),
  failed_streamed: await failure(ask({ status: 503 }), parts),
};
for (const fault of ["error_after", "reset_after", "close_after"]) {
  told[fault] = await failure(ask({ [fault]: 3 }), parts);
}
console.log(JSON.stringify(told));
