"use strict";
// A post can be hostile: all text is set by textContent, and only http(s) URLs become links.

function make(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function link(url, text) {
  if (!/^https?:\/\//i.test(url)) return make("span", text);
  const node = make("a", text);
  node.href = url;
  node.rel = "noopener noreferrer nofollow";
  node.target = "_blank";
  return node;
}

function when(iso) {
  return iso ? new Date(iso).toISOString().slice(0, 16).replace("T", " ") + " UTC" : "–";
}

async function get(path) {
  const answer = await fetch(path);
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error || answer.statusText);
  return value;
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function alertCard(alert) {
  const card = make("article", undefined, `alert ${alert.severity} ${alert.state}`);
  card.append(make("h3", `${alert.key} — ${alert.severity}, ${alert.state}`));
  const negative = alert.toward
    ? `negative toward ${alert.toward}: ${alert.observed} of ${alert.posts} posts`
    : `${alert.observed} of ${alert.posts} posts negative`;
  const counts = alert.lane === "volume" ? `${alert.observed} posts` : negative;
  const estimated = alert.counted === undefined ? "" :
    `; estimated, 80 % interval of the share ${percent(alert.share_low)} to ${percent(alert.share_high)}, ` +
    `${alert.counted} labelled negative`;
  card.append(make("p", `${counts} in ${alert.window_s / 3600} h, ` +
    `${alert.expected.toFixed(1)} expected (×${alert.lift}); score ${alert.score.toFixed(1)}${estimated}` +
    (alert.cold ? "; cold start: less than 7 days of history" : "")));
  card.append(make("p", `since ${when(alert.started_at)}, resolved ${when(alert.resolved_at)}` +
    (alert.related.length ? `; inhibits ${alert.related.join(", ")}` : ""), "dim"));
  const facts = [(alert.terms || []).join(", "), alert.origin].filter(Boolean);
  if (facts.length) card.append(make("p", facts.join("; ")));
  card.append(make("p", [alert.told, alert.model].filter(Boolean).join("; "), "dim"));
  if (alert.channels && alert.channels.length) {
    const channels = make("ul", undefined, "dim");
    for (const line of alert.channels) channels.append(make("li", line));
    card.append(channels);
  }
  if (alert.series && alert.series.posts.length) card.append(dayChart(alert));
  const list = make("ul");
  for (const post of alert.evidence) {
    const item = make("li");
    const score = post.toward
      ? `${post.toward} toward ${alert.subject} (${post.toward_score.toFixed(2)})`
      : post.negative_score.toFixed(2);
    item.append(link(post.url, post.text), make("span", `  ${score}, ${post.reposts} reposts`, "dim"));
    list.append(item);
  }
  card.append(list);
  return card;
}

function bars(values, top, high) {
  const space = "http://www.w3.org/2000/svg";
  const chart = document.createElementNS(space, "svg");
  chart.setAttribute("viewBox", `0 0 ${values.length * 6} 24`);
  chart.setAttribute("preserveAspectRatio", "none");
  values.forEach((value, i) => {
    if (value === null) return;
    const bar = document.createElementNS(space, "rect");
    const height = Math.max(1, value / top * 24);
    for (const [name, number] of Object.entries({ x: i * 6, y: 24 - height, width: 5, height })) bar.setAttribute(name, number);
    if (high(i)) bar.setAttribute("class", "high");
    chart.append(bar);
  });
  return chart;
}

function dayChart(alert) {
  const { posts, negatives, end, step_s } = alert.series;
  const volume = alert.lane === "volume";
  const values = posts.map((n, i) => (n ? (volume ? n : negatives[i] / n) : null));
  const since = Date.parse(alert.started_at) / 1000;
  const chart = bars(values, volume ? Math.max(1, ...posts) : 1, (i) => end - (posts.length - i - 1) * step_s > since);
  chart.setAttribute("class", "day");
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", `the ${volume ? "posts" : "negative share"} of the last ${posts.length * step_s / 3600} hours`);
  return chart;
}

function shareRow(row) {
  const line = make("tr");
  const total = row.posts.reduce((a, b) => a + b, 0);
  line.append(make("td", row.key), make("td", String(total), "n"));
  const shares = row.posts.map((n, i) => (n ? row.negatives[i] / n : null));
  const now = shares.filter((share) => share !== null).pop() ?? null;
  const cell = make("td");
  cell.append(bars(shares, 1, (i) => shares[i] > 0.5 && row.posts[i] >= 10));
  line.append(cell, make("td", now === null ? "–" : `${Math.round(now * 100)} %`, "n"));
  return line;
}

function busiest(rows) {
  const total = (row) => row.posts.reduce((a, b) => a + b, 0);
  const rank = (row) => (row.key.startsWith("topic:") ? 1 : 0);
  return rows.filter((row) => total(row) >= 20).sort((a, b) => rank(a) - rank(b) || total(b) - total(a)).slice(0, 40);
}

async function refresh() {
  const status = document.getElementById("status");
  try {
    const [state, alerts, shares] = await Promise.all([get("/api/status"), get("/api/alerts"), get("/api/shares")]);
    status.textContent = `consumed ${state.consumed} = indexed ${state.indexed} + duplicate ${state.duplicate} + ` +
      `dead ${state.dead} + in flight ${state.in_flight}; lag ${state.lag}; open alerts ${state.open_alerts}; ${state.model}` +
      (state.silent_sources.length ? `; silent sources: ${state.silent_sources.join(", ")}` : "");
    if (alerts.length) document.getElementById("alerts").replaceChildren(...alerts.map(alertCard));
    if (shares.length) document.getElementById("shares").replaceChildren(...busiest(shares).map(shareRow));
  } catch (error) {
    status.textContent = `not connected: ${error.message}`;
  }
  setTimeout(refresh, 2000);
}

document.getElementById("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const hits = document.getElementById("hits");
  try {
    const found = await get("/api/search?q=" + encodeURIComponent(document.getElementById("q").value));
    hits.replaceChildren(...(found.length ? found.map((post) => {
      const row = make("div", undefined, "hit");
      row.append(make("span", post.sentiment, `tag ${post.sentiment}`), make("span", post.topic, "tag"));
      for (const { subject, label, whole_text } of post.toward || []) {
        row.append(make("span", `${subject}: ${label}${whole_text ? " (whole text)" : ""}`, `tag ${label}`));
      }
      row.append(link(post.url, post.title || post.text), make("div", `${post.source}, ${when(post["@timestamp"])}`, "dim"));
      return row;
    }) : [make("p", "No post found. Consecutive Chinese characters are searched as a phrase.", "empty")]));
  } catch (error) {
    hits.replaceChildren(make("p", error.message, "empty"));
  }
});

refresh();
