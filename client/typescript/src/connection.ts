import { readFileSync } from "node:fs";
import { type CallOptions, type ChannelCredentials, type ClientOptions, Metadata, credentials } from "@grpc/grpc-js";

// Every method only reads, so every method may be tried again. CANCELLED is what a server that stops answers to calls
// that it had just accepted. grpc-js 1.14 does not carry out healthCheckConfig; a later one may.
const serviceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  healthCheckConfig: { serviceName: "" },
  methodConfig: [
    {
      name: [{ service: "cofactor.v1.RecommenderService" }, { service: "cofactor.v1.CatalogService" }],
      retryPolicy: {
        maxAttempts: 3,
        initialBackoff: "0.1s",
        maxBackoff: "1s",
        backoffMultiplier: 3,
        retryableStatusCodes: ["UNAVAILABLE", "CANCELLED"],
      },
    },
  ],
};

// A network that swallows packets tells nobody: a connection that leaves a ping without an answer is ended, and its
// calls are tried on another. The server wants 10 s between pings. A lost server is looked for every 5 s, where gRPC
// would come to wait for two minutes.
const keepalive: ClientOptions = {
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1, // there is no call between calls, as health is not watched
  "grpc.max_reconnect_backoff_ms": 5_000, // from when an attempt has failed: attempts have no time limit (issue 2785)
};

/** What a client of any service is made from, and the options of each call. */
export interface Connection {
  target: string;
  credentials: ChannelCredentials;
  clientOptions: ClientOptions;
  callOptions: () => Partial<CallOptions>;
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new RangeError(`COFACTOR_TLS_CA is a PEM file, or 'system': cannot read ${path}`, { cause: error });
  }
}

/** TLS with the certificate authorities of a PEM file, or of the system, or no TLS; and the token of every call. */
function channelCredentials(ca: string | undefined, token: string | undefined): ChannelCredentials {
  if (!ca) {
    if (token) throw new RangeError("COFACTOR_TOKEN would travel in plain text: set COFACTOR_TLS_CA");
    return credentials.createInsecure();
  }
  const tls = credentials.createSsl(ca === "system" ? null : readPem(ca));
  if (!token) return tls;
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  const perCall = credentials.createFromMetadataGenerator((_, callback) => callback(null, metadata));
  return credentials.combineChannelCredentials(tls, perCall);
}

/** Reads COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT. */
export function connect(environment: NodeJS.ProcessEnv): Connection {
  const seconds = Number(environment.COFACTOR_TIMEOUT || "5");
  if (!(seconds > 0)) throw new RangeError("COFACTOR_TIMEOUT is seconds, such as 5 or 0.5");
  return {
    target: environment.COFACTOR_ADDRESS || "localhost:50051",
    credentials: channelCredentials(environment.COFACTOR_TLS_CA, environment.COFACTOR_TOKEN),
    clientOptions: { "grpc.service_config": JSON.stringify(serviceConfig), ...keepalive },
    callOptions: () => ({ deadline: Date.now() + 1000 * seconds }),
  };
}
