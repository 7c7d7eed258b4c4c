// The chat page: talks to the same API as every other client.
const $ = (id) => document.getElementById(id);
const words = JSON.parse($("words").textContent);
const talk = $("talk");
/** questions and, of each place (first, second), the answers to them */
let turns = [];
let running = [];

const key = () => $("key").value || sessionStorage.getItem("key") || "";

async function call(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (response.ok) {
    if (key()) sessionStorage.setItem("key", key());
    return response;
  }
  if (response.status === 401) $("key-row").hidden = false;
  const told = await response.json().catch(() => null);
  throw new Error(told?.error?.message ?? `HTTP ${response.status}`);
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text ?? "";
}

async function models() {
  const list = (await (await call("/v1/models")).json()).data.map((m) => m.id);
  for (const [id, chosen] of [["first", list.length > 1 ? 1 : 0], ["second", 0]]) {
    const select = $(id);
    const before = select.value;
    while (select.options.length > (id === "second" ? 1 : 0)) select.lastChild.remove();
    list.forEach((name) => select.append(new Option(name, name)));
    // the deep model first and its base beside it, where there is one
    const wanted = before || (id === "second" && list.length < 2 ? "" : list[chosen]);
    select.value = list.includes(wanted) ? wanted : "";
  }
  trouble();
}

function element(kind, name, text) {
  const node = document.createElement(kind);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** Text with its fenced code as blocks; everything else stays as it is. */
function write(node, text) {
  const parts = text.split(/^```[^\n]*\n?/m);
  node.replaceChildren(...parts.map((part, i) => (i % 2 ? element("pre", "", part.replace(/\n$/, "")) : document.createTextNode(part))));
}

async function answer(place, model, article, signal) {
  const text = article.querySelector(".text");
  const foot = article.querySelector(".foot");
  const messages = [];
  if ($("system").value.trim()) messages.push({ role: "system", content: $("system").value });
  for (const turn of turns) {
    messages.push({ role: "user", content: turn.question });
    if (turn.answers[place] !== undefined) messages.push({ role: "assistant", content: turn.answers[place] });
  }
  const number = (id, or) => (Number.isFinite($(id).valueAsNumber) ? $(id).valueAsNumber : or);
  const body = {
    model, messages, stream: true, stream_options: { include_usage: true },
    temperature: number("temperature", 0), max_tokens: number("most", 512),
  };
  const begin = performance.now();
  let first, finish, usage, said = "";
  try {
    const response = await call("/v1/chat/completions", body, signal);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
        const object = JSON.parse(event.slice(6));
        if (object.error) throw new Error(object.error.message);
        usage = object.usage ?? usage;
        for (const choice of object.choices) {
          finish = choice.finish_reason ?? finish;
          if (choice.delta.content) {
            first ??= performance.now();
            said += choice.delta.content;
          }
        }
      }
      const below = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
      write(text, said);
      if (below) talk.scrollTop = talk.scrollHeight;
    }
  } catch (error) {
    if (error.name === "AbortError") finish = "stopped";
    else trouble(error.message);
  }
  article.classList.remove("waits");
  turns.at(-1).answers[place] = said;
  const seconds = (performance.now() - (first ?? begin)) / 1000;
  if (usage && usage.completion_tokens > 1) {
    foot.append(element("span", "", `${usage.completion_tokens} ${words.tokens}`));
    foot.append(element("span", "", `${((usage.completion_tokens - 1) / seconds).toFixed(1)} ${words.rate}`));
  }
  if (finish === "length") foot.append(element("span", "", words.cut));
  if (finish === "stopped") foot.append(element("span", "", words.stopped));
  if (said) {
    const copy = element("button", "", words.copy);
    copy.type = "button";
    copy.onclick = async () => {
      await navigator.clipboard.writeText(said);
      copy.textContent = words.copied;
    };
    foot.append(copy);
  }
}

async function ask(event) {
  event?.preventDefault();
  const question = $("question").value.trim();
  if (!question || running.length) return;
  trouble();
  $("empty").hidden = true;
  $("question").value = "";
  talk.append(element("div", "own", question));
  turns.push({ question, answers: {} });
  const answers = element("div", "answers");
  talk.append(answers);
  const chosen = [["first", $("first").value], ["second", $("second").value]].filter(([, model]) => model);
  const control = new AbortController();
  running = [control];
  $("send").hidden = true;
  $("stop").hidden = false;
  talk.setAttribute("aria-busy", "true");
  await Promise.all(
    chosen.map(([place, model]) => {
      const article = element("article", "waits");
      article.append(element("h2", "", model), element("div", "text"), element("div", "foot"));
      answers.append(article);
      return answer(place, model, article, control.signal);
    }),
  );
  talk.scrollTop = talk.scrollHeight;
  talk.setAttribute("aria-busy", "false");
  running = [];
  $("send").hidden = false;
  $("stop").hidden = true;
  $("question").focus();
}

$("form").onsubmit = ask;
$("stop").onclick = () => running.forEach((c) => c.abort());
$("anew").onclick = () => {
  running.forEach((c) => c.abort());
  turns = [];
  talk.querySelectorAll(".own, .answers").forEach((n) => n.remove());
  $("empty").hidden = false;
  trouble();
  $("question").focus();
};
$("question").onkeydown = (event) => {
  // while an input method composes a word, Enter belongs to it
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) ask(event);
};
document.onkeydown = (event) => {
  if (event.key === "Escape") running.forEach((c) => c.abort());
};
$("key").onchange = () => models().catch((error) => trouble(error.message));
models().catch((error) => trouble(error.message));
$("question").focus();
