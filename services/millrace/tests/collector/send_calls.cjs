// Sends two calls with Segment's library for Node. Prints the number of errors that the library reports.
// Arguments: the folder with the library, the collector's address, the write key.
const [folder, host, writeKey] = process.argv.slice(2);
const { Analytics } = require(require.resolve("@segment/analytics-node", { paths: [folder] }));

let errors = 0;
const analytics = new Analytics({ writeKey, host, flushInterval: 100, maxRetries: 3 });
analytics.on("error", (error) => { errors += 1; console.error(error); });
analytics.identify({ userId: "u2", traits: { email: "ben@townsend.com", lastName: "Miller" } });
analytics.track({ userId: "u2", event: "Report Opened", properties: { pages: 3 }, messageId: "report-1" });
analytics.closeAndFlush().then(() => console.log(errors));
