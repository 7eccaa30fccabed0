// An unmodified AWS SDK for JavaScript v3: only AWS_ENDPOINT_URL_KINESIS_VIDEO points at kvs-edge, the JWT is the
// session token. Prints one JSON object with what it got, and how each refusal reached it.
import { DescribeStreamCommand, GetDataEndpointCommand, KinesisVideoClient, paginateListStreams }
  from "@aws-sdk/client-kinesis-video";
import { GetClipCommand, GetDASHStreamingSessionURLCommand, GetHLSStreamingSessionURLCommand, GetImagesCommand,
  GetMediaForFragmentListCommand, KinesisVideoArchivedMediaClient, paginateListFragments }
  from "@aws-sdk/client-kinesis-video-archived-media";

const ago = (seconds) => new Date(Date.now() - seconds * 1000);
const [start, end] = [ago(110), ago(90)];
const as = (sessionToken) => ({ credentials: { accessKeyId: "kvsedge", secretAccessKey: "kvsedge", sessionToken } });

async function media(token, APIName) {
  const control = new KinesisVideoClient(as(token));
  const { DataEndpoint } = await control.send(new GetDataEndpointCommand({ StreamName: "cam-1", APIName }));
  return { control, endpoint: DataEndpoint, client: new KinesisVideoArchivedMediaClient({ ...as(token), endpoint: DataEndpoint }) };
}

const selector = (from = start, to = end) =>
  ({ FragmentSelectorType: "SERVER_TIMESTAMP", TimestampRange: { StartTimestamp: from, EndTimestamp: to } });
const clip = (client, StreamName, ...range) =>
  client.send(new GetClipCommand({ StreamName, ClipFragmentSelector: selector(...range) }));

async function told(call) {
  try {
    await call();
    return { class: null };
  } catch (error) {
    const { httpStatusCode: status, attempts } = error.$metadata ?? {};
    return { class: error.constructor.name, code: error.name, status, message: error.message, retries: attempts - 1 };
  }
}

const { ALICE, BOB } = process.env;
const { control, client, endpoint } = await media(ALICE, "GET_CLIP");
const { client: bob } = await media(BOB, "GET_CLIP");
const nobody = new KinesisVideoClient(as("not.a.token"));
const out = { endpoint };

out.clip = (await (await clip(client, "cam-1")).Payload.transformToByteArray()).length;
const numbers = [];
for await (const page of paginateListFragments({ client, pageSize: 7 }, { StreamName: "cam-1", FragmentSelector: selector() })) {
  numbers.push(...page.Fragments.map((fragment) => fragment.FragmentNumber));
}
out.fragments = { count: numbers.length, distinct: new Set(numbers).size };
const images = await client.send(new GetImagesCommand({ StreamName: "cam-1", ImageSelectorType: "SERVER_TIMESTAMP",
  StartTimestamp: start, EndTimestamp: end, SamplingInterval: 3000, Format: "JPEG" }));
out.images = images.Images.filter((image) => image.ImageContent).length;
const mkv = await client.send(new GetMediaForFragmentListCommand({ StreamName: "cam-1", Fragments: numbers.slice(0, 2) }));
out.mkv = Buffer.from((await mkv.Payload.transformToByteArray()).subarray(0, 4)).toString("hex");
out.hls = (await client.send(new GetHLSStreamingSessionURLCommand({ StreamName: "cam-1" }))).HLSStreamingSessionURL;
out.dash = (await client.send(new GetDASHStreamingSessionURLCommand({ StreamName: "cam-1" }))).DASHStreamingSessionURL;
out.streams = [];
for await (const page of paginateListStreams({ client: control, pageSize: 1 }, {})) {
  out.streams.push(...page.StreamInfoList.map((stream) => stream.StreamName));
}
out.refusals = {
  unknown: await told(() => nobody.send(new DescribeStreamCommand({ StreamName: "cam-1" }))),
  denied: await told(() => clip(bob, "cam-1")),
  missing: await told(() => control.send(new DescribeStreamCommand({ StreamName: "cam-9" }))),
  invalid: await told(() => clip(client, "cam-1", end, start)),
  throttled: await told(() => clip(client, "cam-2")),
};
console.log(JSON.stringify(out));
