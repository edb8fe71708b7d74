// node fetch.mjs <reader> <base URL> <JSON body>: hand-written readers of a stream, as two services document them.
const [reader, baseURL, body] = process.argv.slice(2);

async function open(signal) {
  const headers = { "Content-Type": "application/json", Authorization: "Bearer sk-client-0a1b2c3d4e5f" };
  return fetch(`${baseURL}/chat/completions`, { method: "POST", headers, body, signal });
}

const readers = {
  // Every read is split on its own: nothing is carried over to the next one.
  async split() {
    const response = await open();
    const source = response.body.getReader();
    const decoder = new TextDecoder();
    const deltas = [];
    let error = null;
    let done = false;
    while (true) {
      const read = await source.read();
      if (read.done) break;
      for (const line of decoder.decode(read.value).split("\n")) {
        if (!line.startsWith("data: ")) continue;
        const data = line.slice(6);
        if (data === "[DONE]") {
          done = true;
          continue;
        }
        const chunk = JSON.parse(data);
        if (chunk.error) error = chunk.error;
        else deltas.push(chunk.choices[0].delta);
      }
    }
    return { deltas, error, done };
  },
  // The state of a React hook: what a component would show after each update.
  async hook() {
    const states = [];
    let state = { content: "", isStreaming: true, error: null, usage: null };
    const setState = (change) => states.push((state = { ...state, ...change }));
    const response = await open(new AbortController().signal);
    if (!response.ok) {
      setState({ error: (await response.json()).error.message, isStreaming: false });
      return { state, updates: states.length, status: response.status };
    }
    const source = response.body.getReader();
    const decoder = new TextDecoder();
    for (let read = await source.read(); !read.done; read = await source.read()) {
      const lines = decoder.decode(read.value, { stream: true }).split("\n");
      for (const line of lines.filter((line) => line.startsWith("data: ") && line !== "data: [DONE]")) {
        const chunk = JSON.parse(line.slice(6));
        if (chunk.usage) setState({ usage: chunk.usage });
        const content = chunk.choices?.[0]?.delta?.content;
        if (content) setState({ content: state.content + content });
      }
    }
    setState({ isStreaming: false });
    return { state, updates: states.length, status: response.status };
  },
};

console.log(JSON.stringify(await readers[reader]()));
process.exit(0);
