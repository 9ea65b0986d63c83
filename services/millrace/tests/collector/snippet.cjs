// Runs the page-view snippet in a stand-in for a browser, against a real collector. Prints `ok`.
// Arguments: the snippet, the collector's address, a public write key.
const assert = require("node:assert");
const fs = require("node:fs");
const vm = require("node:vm");

const [snippet, collector, writeKey] = process.argv.slice(2);
const source = fs.readFileSync(snippet, "utf8");

// One site of one browser: what it keeps outlives a page.
const cookies = {};
const stored = {};
let requests = [];

function page(path, options) {
  const listeners = {};
  const place = new URL(path, collector);
  const document = {
    title: `Title of ${path}`,
    referrer: "",
    currentScript: { src: `${collector}/v1/collect.js`, dataset: { writeKey, ...options.data } },
    get cookie() { return Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join("; "); },
    set cookie(text) {
      const [, name, value] = text.match(/^([^=]+)=([^;]*)/);
      if (/max-age=0(;|$)/.test(text)) delete cookies[name]; else cookies[name] = value;
    },
  };
  const window = {
    document,
    navigator: {
      userAgent: "stand-in", language: "en", globalPrivacyControl: options.refuses,
      sendBeacon(url, body) { requests.push({ beacon: true, body: JSON.parse(body) }); fetch(url, { method: "POST", body }); return true; },
    },
    location: place,
    screen: { width: 800, height: 600 },
    history: { pushState(_state, _title, to) { place.href = new URL(to, place).href; } },
    localStorage: {
      getItem: (key) => stored[key] ?? null,
      setItem: (key, text) => { stored[key] = text; },
      removeItem: (key) => { delete stored[key]; },
    },
    addEventListener: (name, listener) => { listeners[name] = listener; },
    crypto, URL, JSON, Date, Math, String, console, clearTimeout,
    // Pauses are not waited for.
    setTimeout: (work) => setTimeout(work, 1),
    fetch: async (url, request) => {
      requests.push({ body: JSON.parse(request.body) });
      if (options.failures > 0) {
        options.failures -= 1;
        // The collector has it, and the answer is lost.
        await fetch(url, request);
        throw new Error("the connection broke");
      }
      return fetch(url, request);
    },
  };
  window.window = window;
  vm.runInContext(source, vm.createContext(window));
  return { millrace: (...call) => window.millrace(...call), leave: () => listeners.pagehide(), push: (to) => window.history.pushState({}, "", to) };
}

async function until(done) {
  const deadline = Date.now() + 30_000;
  while (!done()) {
    assert(Date.now() < deadline, JSON.stringify({ requests, stored, cookies }));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function main() {
  // Nothing before consent, and nothing after a refusal.
  const first = page("/one", { data: {} });
  assert.deepStrictEqual([requests, cookies, stored], [[], {}, {}]);
  first.millrace("consent", false);
  first.millrace("track", "Refused");
  assert.deepStrictEqual([requests, cookies, stored], [[], {}, {}]);

  // A browser that refuses has to be asked, whatever the page says.
  page("/one", { data: { consent: "granted" }, refuses: true });
  assert.deepStrictEqual([requests, cookies, stored], [[], {}, {}]);

  // With consent, what waited is sent; a lost answer is repeated.
  const second = page("/two", { data: {}, failures: 2 });
  second.millrace("consent", true);
  await until(() => stored.mr_queue === undefined);
  assert(requests.length >= 3 && cookies.mr_id, JSON.stringify(requests));
  const ids = new Set(requests.flatMap(({ body }) => body.batch.map((event) => event.messageId)));
  assert.strictEqual(ids.size, 1);

  // The id stays; an address that changes is a page view; a page that is left sends what waits.
  requests = [];
  const id = cookies.mr_id;
  const third = page("/three", { data: { consent: "granted", auto: "false" }, failures: 4 });
  third.millrace("identify", "u9", { plan: "gold" });
  third.millrace("track", "Clicked", { button: "buy" });
  third.leave();
  const beacon = requests.find((request) => request.beacon);
  assert.deepStrictEqual(beacon.body.batch.map((event) => event.type), ["identify", "track"]);
  assert(beacon.body.batch.every((event) => event.anonymousId === id && event.userId === "u9"));
  await until(() => stored.mr_queue === undefined);
  assert(requests.length >= 6, JSON.stringify(requests));

  // The user is still known on the next page. Consent that is taken back leaves nothing behind.
  const fourth = page("/four", { data: { consent: "granted" } });
  await until(() => stored.mr_queue === undefined);
  fourth.millrace("consent", false);
  assert.deepStrictEqual([cookies, stored], [{}, {}]);
  console.log("ok");
  process.exit(0);
}

main();
