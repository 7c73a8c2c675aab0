// Each thing that the library really exports must be what static/lipsync.d.ts says of it. It is never run.
// The modules themselves are imported here: TypeScript reads their types from the code, and knows nothing of lipsync.d.ts then.

import type * as told from "../../../static/lipsync.js";
import * as connection from "../../../static/lipsync/connection.js";
import * as face from "../../../static/lipsync/face.js";
import * as frames from "../../../static/lipsync/frames.js";
import * as json from "../../../static/lipsync/json.js";
import * as meter from "../../../static/lipsync/meter.js";
import * as microphone from "../../../static/lipsync/microphone.js";
import * as models from "../../../static/lipsync/models.js";
import * as pcm from "../../../static/lipsync/pcm.js";
import * as player from "../../../static/lipsync/player.js";
import * as protobuf from "../../../static/lipsync/protobuf.js";
import * as requestSession from "../../../static/lipsync/request-session.js";
import * as resample from "../../../static/lipsync/resample.js";
import * as server from "../../../static/lipsync/server.js";
import * as streamSession from "../../../static/lipsync/stream-session.js";
import * as timeline from "../../../static/lipsync/timeline.js";
import * as timing from "../../../static/lipsync/timing.js";
import * as v1 from "../../../static/lipsync/v1.js";
import * as v2 from "../../../static/lipsync/v2.js";
import * as bytes from "../../../static/lipsync/bytes.js";

const real = {
  ...connection, ...face, ...frames, ...meter, ...microphone, ...models, ...pcm, ...player, ...requestSession, ...resample,
  ...server, ...streamSession, ...timeline, ...timing, ...bytes, json, protobuf, v1, v2,
};

/** The members that are told of each class, and not there. */
type Missing<Told, Real> = {
  [Name in keyof Told & keyof Real & string]: Told[Name] extends abstract new (...args: never) => infer Instance
    ? Real[Name] extends abstract new (...args: never) => infer Own
      ? `${Name}.${Exclude<keyof Instance, keyof Own> & string}`
      : `${Name}, which is no class`
    : never;
}[keyof Told & keyof Real & string];
/** The functions that cannot be called as is told. */
type Callable<Told, Real> = {
  [Name in keyof Told & keyof Real as Told[Name] extends (...args: never) => unknown ? Name : never]: Told[Name];
};

const nothingMissing: [Missing<typeof told, typeof real>] extends [never] ? true : Missing<typeof told, typeof real> = true;
const exported: [Exclude<keyof typeof told, keyof typeof real>] extends [never] ? true : Exclude<keyof typeof told, keyof typeof real> = true;
const callable: Callable<typeof told, typeof real> = real;
const codecs: Pick<typeof told, "json" | "protobuf" | "v1" | "v2"> = real;
export { callable, codecs, exported, nothingMissing };
