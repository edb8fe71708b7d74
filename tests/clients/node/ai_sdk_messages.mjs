// node ai_sdk_messages.mjs <base URL> <behaviour of the provider>: prints what came of a stream and of a whole answer.
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, streamText } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false;
const [baseURL, behaviour] = process.argv.slice(2);
const simulate = JSON.parse(behaviour);
const asTold = (url, options) =>
  fetch(url, { ...options, body: JSON.stringify({ ...JSON.parse(options.body), simulate }) });
const model = createAnthropic({ baseURL, apiKey: "sk-client-0a1b2c3d4e5f", fetch: asTold })("anthropic/claude-x");
const ask = { model, prompt: "What does the heron whisper to the weir?", maxRetries: 0, maxOutputTokens: 1000 };

async function streamed() {
  const result = { text: "", reasoning: "", reason: null, tokens: null, errors: [] };
  const { fullStream } = streamText({ ...ask, onError: () => {} });
  for await (const part of fullStream) {
    if (part.type === "text-delta") result.text += part.text;
    if (part.type === "reasoning-delta") result.reasoning += part.text;
    if (part.type === "error") result.errors.push({ message: part.error.message, status: part.error.statusCode ?? null });
    if (part.type === "finish") [result.reason, result.tokens] = [part.finishReason, part.totalUsage.outputTokens ?? null];
  }
  return result;
}

async function whole() {
  try {
    const { text, finishReason, usage } = await generateText(ask);
    return { text, reason: finishReason, tokens: usage.outputTokens };
  } catch (error) {
    return { message: error.message, status: error.statusCode };
  }
}

console.log(JSON.stringify({ streamed: await streamed(), whole: await whole() }));
