// Reads what one event of an answer says, in any dialect: parts of text, reasoning and calls of tools.

// The parts of one event, as [kind, text, name]: kind is "text", "reasoning", "tool" or "note"; name is the tool's.
export function saidBy(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    return [];
  }
  if (chunk === null || typeof chunk !== "object") return [];
  const error = chunk.error ?? (chunk.type === "error" ? chunk : null);
  const parts = error ? [["note", String(error.message ?? "error")]] : partsOf(chunk);
  return parts.filter(([, text, name]) => (typeof text === "string" && text !== "") || name);
}

function partsOf(chunk) {
  if (Array.isArray(chunk.choices)) return chunk.choices.flatMap((choice) => saidInChoice(choice));
  const type = String(chunk.type ?? "");
  if (type === "content_block_start" && chunk.content_block?.name) return [["tool", "", chunk.content_block.name]];
  if (type === "content_block_delta") return saidInBlock(chunk.delta ?? {});
  if (type === "response.output_item.added" && chunk.item?.name) return [["tool", "", chunk.item.name]];
  if (type.endsWith(".delta") && typeof chunk.delta === "string") return [[kindOf(type), chunk.delta]];
  return [];
}

function saidInChoice(choice) {
  const delta = choice.delta ?? choice;
  const calls = (delta.tool_calls ?? []).map(({ function: called }) => [
    "tool",
    called?.arguments ?? "",
    called?.name,
  ]);
  return [
    ["reasoning", delta.reasoning_content ?? delta.reasoning],
    ["text", delta.content ?? delta.text],
    ["text", delta.refusal],
    ...calls,
  ];
}

const saidInBlock = (delta) => [
  ["reasoning", delta.thinking],
  ["text", delta.text],
  ["tool", delta.partial_json],
];

// The kind of an event of responses, by its type.
function kindOf(type) {
  if (type.includes("reasoning")) return "reasoning";
  return type.includes("call") ? "tool" : "text";
}
