// The library as a page in TypeScript uses it: must compile against static/lipsync.d.ts. It is never run.

import {
  Connection, Face, HOME, listMicrophones, listModels, MicrophoneError, MODES, Player, RequestSession, StreamSession, WIRE_RATE,
  type Metadata, type Model, type Status,
} from "../../../static/lipsync.js";

declare const canvas: HTMLCanvasElement;
declare const file: ArrayBuffer;

const player = new Player();
const models: Model[] = await listModels("/avatar/");
const face = new Face({ canvas, server: new URL(HOME), model: models[0]!.name, mode: "auto" });
face.addEventListener("status", ({ detail }: CustomEvent<Status>) => console.log(detail.text, detail.tone));
face.addEventListener("loaded", ({ detail }) => console.log((detail satisfies Metadata).frame_count));
face.still = true;
player.add(face);
await face.load();
await player.wake();

const [first, second]: boolean[] = await Promise.all([player.speak(player.decode(file)), player.speak(await player.decode(file))]);
console.log(first, second, face.meter.shownShare, face.connection.wire);
player.addEventListener("change", ({ detail: { state } }) => state === "speaking" && player.stop());
player.addEventListener("tick", ({ detail: { position } }) => console.log(position ?? 0 / WIRE_RATE));
try {
  await player.listen({ deviceId: (await listMicrophones())[0]?.deviceId, monitor: true });
} catch (error) {
  if (error instanceof MicrophoneError) console.log(error.reason);
}

const connection = new Connection({ url: "ws://localhost:8765/ws", mode: MODES[0] });
connection.addEventListener("state", ({ detail: { state, text } }) => console.log(state, text));
for (const session of [new RequestSession(connection, { model: "face", frameCount: 9 }), new StreamSession(connection, { model: "face" })]) session.close();

// What is wrong must not compile.
// @ts-expect-error a mode that there is not
new Connection({ url: "", mode: "fast" });
// @ts-expect-error a face needs a canvas
new Face({ model: "face" });
// @ts-expect-error a recording is decoded first
player.speak(file);
player.close();
