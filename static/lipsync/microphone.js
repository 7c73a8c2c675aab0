// The microphone as a source of speech: capture, level, monitoring, and errors in words.

/** Why the microphone cannot be used: `reason` is one of insecure, unsupported, denied, missing, taken, failed. */
export class MicrophoneError extends Error {
  constructor(reason, message) {
    super(message);
    this.name = "MicrophoneError";
    this.reason = reason;
  }
}

const WORDS = {
  insecure:
    "Browsers give a microphone to secure pages only. Open this page by https, or as http://localhost on the machine itself.",
  unsupported: "This browser offers no microphone to pages.",
  denied:
    "The microphone was refused. Allow it for this page in the browser's address bar, then press the button again.",
  missing: "No microphone was found. Plug one in, then press the button again.",
  taken: "The microphone is there, but another program holds it. Close that program, then press the button again.",
  failed: "The microphone could not be started.",
};

/** Turns what getUserMedia threw into a MicrophoneError. */
export function microphoneError(error) {
  const reason =
    { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "missing", OverconstrainedError: "missing", NotReadableError: "taken", AbortError: "taken" }[
      error?.name
    ] ?? "failed";
  return new MicrophoneError(reason, WORDS[reason]);
}

/** The microphones there are; their names are empty until the user has allowed one. */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((device) => device.kind === "audioinput");
}

export class Microphone {
  /**
   * @param {AudioContext} context
   * @param {{deviceId?: string, echoCancellation?: boolean, onChunk: (pcm: Int16Array, level: number) => void,
   *   onEnd: () => void}} options onEnd: the device went away
   */
  static async open(context, { deviceId, echoCancellation = true, onChunk, onEnd }) {
    if (!globalThis.isSecureContext) throw new MicrophoneError("insecure", WORDS.insecure);
    if (!navigator.mediaDevices?.getUserMedia || !context.audioWorklet) {
      throw new MicrophoneError("unsupported", WORDS.unsupported);
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: {
          ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
          echoCancellation,
          noiseSuppression: echoCancellation,
          autoGainControl: true,
          channelCount: 1,
        },
      });
    } catch (error) {
      throw microphoneError(error);
    }
    try {
      await context.audioWorklet.addModule(new URL("./microphone-worklet.js", import.meta.url));
      return new Microphone(context, stream, onChunk, onEnd);
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      throw new MicrophoneError("failed", `${WORDS.failed} (${error.message})`);
    }
  }

  constructor(context, stream, onChunk, onEnd) {
    this.context = context;
    this.stream = stream;
    /** context time of the first sample, seconds; undefined until it came */
    this.start = undefined;
    this.source = context.createMediaStreamSource(stream);
    this.node = new AudioWorkletNode(context, "lipsync-microphone", {
      numberOfInputs: 1,
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.node.port.onmessage = ({ data }) => {
      if (data.start !== undefined) this.start = data.start;
      if (data.pcm) onChunk(data.pcm, data.level);
    };
    this.source.connect(this.node);
    // Monitoring: the voice comes out together with its picture, so it is delayed alike.
    this.delay = context.createDelay(4);
    this.monitor = context.createGain();
    this.monitor.gain.value = 0;
    this.source.connect(this.delay).connect(this.monitor).connect(context.destination);
    stream.getAudioTracks()[0].onended = onEnd;
  }

  get deviceId() {
    return this.stream.getAudioTracks()[0].getSettings().deviceId;
  }

  /** @param {boolean} on hear oneself; use headphones */
  setMonitor(on) {
    this.monitor.gain.setTargetAtTime(on ? 1 : 0, this.context.currentTime, 0.02);
  }

  /** @param {number} seconds the delay of the monitored voice */
  setDelay(seconds) {
    this.delay.delayTime.setTargetAtTime(seconds, this.context.currentTime, 0.05);
  }

  close() {
    this.node.port.postMessage("stop");
    this.node.port.onmessage = null;
    for (const track of this.stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    for (const node of [this.source, this.node, this.delay, this.monitor]) node.disconnect();
  }
}
