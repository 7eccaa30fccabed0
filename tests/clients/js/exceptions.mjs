// Makes every call of TABLE with the AWS SDK for JavaScript v3 and prints what became of each: the exception's class,
// name, status and message. TABLE is a JSON list of {operation, url, token, input}. Nothing is tried twice.
import * as control from "@aws-sdk/client-kinesis-video";
import * as media from "@aws-sdk/client-kinesis-video-archived-media";

const clients = new Map();
function client({ operation, url, token }) {
  const isControl = ["GetDataEndpoint", "DescribeStream", "ListStreams"].includes(operation);
  const key = `${isControl} ${url}`;
  if (!clients.has(key)) {
    const credentials = { accessKeyId: "kvsedge", secretAccessKey: "kvsedge", sessionToken: token };
    const Client = isControl ? control.KinesisVideoClient : media.KinesisVideoArchivedMediaClient;
    clients.set(key, new Client({ endpoint: url, credentials, maxAttempts: 1 }));
  }
  return [clients.get(key), (isControl ? control : media)[`${operation}Command`]];
}

// The table's times are numbers, the SDK's are Dates.
const withDates = (value, name) =>
  name?.endsWith("Timestamp") ? new Date(value * 1000)
  : Array.isArray(value) ? value
  : value && typeof value === "object"
    ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withDates(inner, key)]))
  : value;

async function told(row) {
  const [sender, Command] = client(row);
  try {
    const answer = await sender.send(new Command(withDates(row.input)));
    await answer.Payload?.transformToByteArray();
    return { class: null };
  } catch (error) {
    return { class: error.constructor.name, code: error.name, status: error.$metadata?.httpStatusCode, message: error.message };
  }
}

const all = [];
for (const row of JSON.parse(process.env.TABLE)) all.push(await told(row));
console.log(JSON.stringify(all));
