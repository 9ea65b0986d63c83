// LinkedIn's own client against a simulated ad account; prints what it sees as JSON.
//
//   node linkedin.js everything URL CODE ACCOUNT    every call that the simulator answers
//   node linkedin.js segments URL TOKEN ACCOUNT VERSION    the segments of the account
//
// The client knows LinkedIn's addresses only: an interceptor puts the simulator's in their place.
"use strict";

const axios = require("axios");
const { AuthClient, RestliClient } = require("linkedin-api-client");

const [mode, url, secret, account, versionString = "202608"] = process.argv.slice(2);
const sourcePlatform = "MILLRACE";

const moved = (request) => {
  request.url = request.url.replace(/^https:\/\/(api|www)\.linkedin\.com/, url);
  return request;
};
axios.interceptors.request.use(moved);
const client = new RestliClient();
client.axiosInstance.interceptors.request.use(moved);

const failed = (promise) =>
  promise.then(
    () => "success",
    (error) => ({ status: error.response.status, code: error.response.data.code, message: error.response.data.message }),
  );

async function segments(accessToken) {
  const found = await client.finder({
    resourcePath: "/dmpSegments", finderName: "account", queryParams: { account, start: 0, count: 100 }, accessToken, versionString,
  });
  return found.data;
}

async function everything() {
  const auth = new AuthClient({ clientId: "client", clientSecret: "secret", redirectUrl: "https://localhost/" });
  const granted = await auth.exchangeAuthCodeForAccessToken(secret);
  const refreshed = await auth.exchangeRefreshTokenForAccessToken(granted.refresh_token);
  const accessToken = refreshed.access_token;
  const introspected = (await auth.introspectAccessToken(accessToken)).data;

  const common = { accessToken, versionString };
  const entity = (name, type) => ({
    name, type, account, sourcePlatform, sourceSegmentId: name.toLowerCase(), destinations: [{ destination: "LINKEDIN" }],
  });
  const people = await client.create({ resourcePath: "/dmpSegments", entity: entity("Hot", "USER"), ...common });
  const firms = await client.create({ resourcePath: "/dmpSegments", entity: entity("Firms", "COMPANY"), ...common });
  const one = { resourcePath: "/dmpSegments/{id}", pathKeys: { id: people.createdEntityId }, ...common };
  const hash = (digit) => ({ userIds: [{ idType: "SHA256_EMAIL", idValue: digit.repeat(64) }] });
  const users = await client.batchCreate({
    resourcePath: "/dmpSegments/{id}/users", pathKeys: { id: people.createdEntityId }, ...common,
    entities: [
      { action: "ADD", ...hash("a") }, { action: "ADD", ...hash("b") }, { action: "ADD", ...hash("X") },
      { action: "ADD", ...hash("c"), country: "US", firstName: "Pat" },
    ],
  });
  const removed = await client.batchCreate({
    resourcePath: "/dmpSegments/{id}/users", pathKeys: { id: people.createdEntityId }, ...common, entities: [{ action: "REMOVE", ...hash("b") }],
  });
  const companies = await client.batchCreate({
    resourcePath: "/dmpSegments/{id}/companies", pathKeys: { id: firms.createdEntityId }, ...common,
    entities: [{ action: "ADD", companyWebsiteDomain: "townsend.example" }, { action: "JOIN", companyName: "Townsend" }],
  });
  const updated = await client.partialUpdate({ ...one, patchSetObject: { name: "Hotter" } });
  const read = (await client.get(one)).data;
  const destination = await client.get({
    resourcePath: "/dmpSegments/{id}/destinations/LINKEDIN", pathKeys: { id: people.createdEntityId }, ...common,
  });
  // A query of more than 4,000 characters travels as a form under another method.
  const long = await client.finder({
    resourcePath: "/dmpSegments", finderName: "account", queryParams: { account, sourceSegmentId: "x".repeat(5000) }, ...common,
  });
  const dead = await failed(client.get({ ...one, versionString: "202501" }));
  const stranger = await failed(client.get({ ...one, accessToken: "nobody" }));
  const all = await segments(accessToken);
  const deleted = await client.delete({ resourcePath: "/dmpSegments/{id}", pathKeys: { id: firms.createdEntityId }, ...common });
  const gone = await failed(client.get({ resourcePath: "/dmpSegments/{id}", pathKeys: { id: firms.createdEntityId }, ...common }));
  return {
    refreshKeeps: refreshed.refresh_token === granted.refresh_token, lives: [refreshed.expires_in, refreshed.refresh_token_expires_in],
    active: introspected.active, ids: [people.createdEntityId, firms.createdEntityId], created: people.status,
    users: users.data.elements, removed: removed.data.elements, companies: companies.data.elements, updated: updated.status, read,
    destination: destination.data, long: long.data.paging.total, dead, stranger, all, deleted: deleted.status, gone,
  };
}

(mode === "segments" ? segments(secret) : everything()).then(
  (seen) => console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error.response ? [error.response.status, error.response.data] : error);
    process.exit(1);
  },
);
