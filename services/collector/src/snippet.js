/* Page views for Millrace: docs/collector.md. Stores and sends nothing before consent. */
(function (w, d) {
  var tag = d.currentScript, set = tag.dataset, n = navigator, memory = {};
  var url = new URL("batch", tag.src).href, ID = "mr_id", QUEUE = "mr_queue", USER = "mr_user", MAX = 100;
  var consent = set.consent === "granted" && !n.globalPrivacyControl, early = [], sending = false, fails = 0, timer, last;

  function get(key) { try { return w.localStorage.getItem(key); } catch (e) { return memory[key] || null; } }
  function put(key, text) { memory[key] = text; try { text === null ? w.localStorage.removeItem(key) : w.localStorage.setItem(key, text); } catch (e) {} }
  function queue() { try { return JSON.parse(get(QUEUE) || "[]"); } catch (e) { return []; } }
  function keep(events) { put(QUEUE, events.length ? JSON.stringify(events.slice(-MAX)) : null); }
  function fresh() { return w.crypto && crypto.randomUUID ? crypto.randomUUID() : Date.now().toString(36) + Math.random().toString(36).slice(2); }
  function cookie(value, seconds) {
    d.cookie = ID + "=" + value + ";path=/;max-age=" + seconds + ";samesite=lax" + (set.domain ? ";domain=" + set.domain : "") +
      (location.protocol === "https:" ? ";secure" : "");
  }
  function id() {
    var found = d.cookie.match(/(?:^|; )mr_id=([^;]+)/), own = found ? found[1] : memory[ID] || (memory[ID] = fresh());
    cookie(own, 34128000);
    return own;
  }
  function body(events) { return JSON.stringify({ writeKey: set.writeKey, sentAt: new Date().toISOString(), batch: events }); }

  function send() {
    var events = queue().slice(0, 20), done = {};
    if (sending || !consent || !events.length) return;
    sending = true;
    events.forEach(function (e) { done[e.messageId] = 1; });
    fetch(url, { method: "POST", body: body(events), headers: { "content-type": "text/plain" }, keepalive: true, credentials: "omit" })
      .then(function (answer) { if (answer.status > 499 || answer.status === 429 || answer.status === 408) throw answer; })
      .then(function () { fails = 0; keep(queue().filter(function (e) { return !done[e.messageId]; })); sending = false; send(); },
        function () { sending = false; clearTimeout(timer); timer = setTimeout(send, Math.min(60000, 1000 * Math.pow(2, fails++)) * (0.5 + Math.random() / 2)); });
  }
  function leave() { var events = queue().slice(-20); if (consent && events.length && n.sendBeacon) n.sendBeacon(url, body(events)); }

  function event(type, more) {
    var e = { type: type, messageId: fresh(), timestamp: new Date().toISOString(), context: {
      page: { url: location.href, path: location.pathname, search: location.search, title: d.title, referrer: d.referrer },
      userAgent: n.userAgent, locale: n.language, screen: { width: screen.width, height: screen.height } } };
    for (var name in more) e[name] = more[name];
    if (consent) add(e); else if (early) early.push(e);
  }
  function add(e) {
    e.anonymousId = id();
    if (e.type === "identify") put(USER, e.userId);
    if (!e.userId && get(USER)) e.userId = get(USER);
    keep(queue().concat([e]));
    send();
  }
  var calls = {
    page: function (name, properties) { last = location.href; event("page", { name: name, properties: properties }); },
    track: function (name, properties) { event("track", { event: name, properties: properties }); },
    identify: function (user, traits) { event("identify", { userId: String(user), traits: traits }); },
    group: function (group, traits) { event("group", { groupId: String(group), traits: traits }); },
    consent: function (given) {
      consent = !!given;
      if (given) { (early || []).forEach(add); early = []; send(); } else { early = null; calls.reset(); keep([]); }
    },
    reset: function () { put(USER, null); memory = {}; cookie("", 0); }
  };
  function call() { var a = [].slice.call(arguments); if (calls[a[0]]) calls[a[0]].apply(null, a.slice(1)); }
  var waiting = (w.millrace && w.millrace.q) || [];
  w.millrace = call;
  waiting.forEach(function (a) { call.apply(null, a); });
  w.addEventListener("pagehide", leave);
  if (set.auto !== "false") {
    var push = history.pushState, moved = function () { if (location.href !== last) calls.page(); };
    history.pushState = function () { push.apply(history, arguments); moved(); };
    w.addEventListener("popstate", moved);
    calls.page();
  }
  send();
})(window, document);
