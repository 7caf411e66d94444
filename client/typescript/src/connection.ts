import { readFileSync } from "node:fs";
import { type CallOptions, type ChannelCredentials, type ClientOptions, Metadata, credentials } from "@grpc/grpc-js";

// Every method only reads, so every call can be retried. A server that shuts down answers CANCELLED to calls that it
// has just accepted. grpc-js 1.14 ignores healthCheckConfig; a later release may support it.
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

// Without pings, a client does not notice that the network drops all packets of a connection. A connection that does
// not answer a ping is closed, and its calls are retried on another. The server accepts one ping every 10 s. A lost
// server is retried every 5 s; by default, gRPC would wait up to two minutes.
const keepalive: ClientOptions = {
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1, // without health checks, the connection is idle between calls
  "grpc.max_reconnect_backoff_ms": 4_000, // after a failed attempt; an attempt itself has no time limit (issue 2785)
};

/** The arguments for the client of any service, and the options of each call. */
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

/** Returns the token with TLS credentials that trust the authorities in a PEM file or of the system, or no TLS. */
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

/** Returns the connection that COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT describe. */
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
