// node ai_sdk_messages.mjs <AI SDK> <its Anthropic provider> <base URL> <behaviours>: what came of a stream and of a whole
// answer, for each of the named behaviours of the simulated provider.
const [sdk, provider, baseURL, behaviours] = process.argv.slice(2);
const { generateText, jsonSchema, streamText, tool } = await import(sdk);
const { createAnthropic } = await import(provider);

globalThis.AI_SDK_LOG_WARNINGS = false;
const tools = { lookup: tool({ inputSchema: jsonSchema({ type: "object" }) }) };

function asked(simulate) {
  const asTold = (url, options) =>
    fetch(url, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), simulate }) });
  const model = createAnthropic({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", fetch: asTold })("anthropic/claude-x");
  return { model, tools, prompt: "What does the heron whisper to the weir?", maxRetries: 0, maxOutputTokens: 1000 };
}

async function streamed(ask) {
  const result = { text: "", reasoning: "", calls: [], reason: null, tokens: null, errors: [] };
  const { fullStream } = streamText({ ...ask, onError: () => {} });
  for await (const part of fullStream) {
    if (part.type === "text-delta") result.text += part.text;
    if (part.type === "reasoning-delta") result.reasoning += part.text;
    if (part.type === "tool-call") result.calls.push(part.input);
    if (part.type === "error") result.errors.push({ message: part.error.message, status: part.error.statusCode ?? null });
    if (part.type === "finish") [result.reason, result.tokens] = [part.finishReason, part.totalUsage.outputTokens ?? null];
  }
  return result;
}

async function whole(ask) {
  try {
    const { text, finishReason, usage } = await generateText(ask);
    return { text, reason: finishReason, tokens: usage.outputTokens };
  } catch (error) {
    return { message: error.message, status: error.statusCode };
  }
}

const told = {};
for (const [name, simulate] of Object.entries(JSON.parse(behaviours))) {
  told[name] = { streamed: await streamed(asked(simulate)), whole: await whole(asked(simulate)) };
}
console.log(JSON.stringify(told));
