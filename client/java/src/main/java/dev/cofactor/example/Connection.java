package dev.cofactor.example;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Opens the channel that COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT describe. */
final class Connection {
  // Every method only reads, so every call can be retried. A server that shuts down answers CANCELLED to calls that it
  // has just accepted. The numbers must be doubles.
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "loadBalancingConfig", List.of(Map.of("round_robin", Map.of())),
          "healthCheckConfig", Map.of("serviceName", ""),
          "methodConfig",
              List.of(
                  Map.of(
                      "name",
                          List.of(
                              Map.of("service", "cofactor.v1.RecommenderService"),
                              Map.of("service", "cofactor.v1.CatalogService")),
                      "retryPolicy",
                          Map.of(
                              "maxAttempts", 3.0,
                              "initialBackoff", "0.1s",
                              "maxBackoff", "1s",
                              "backoffMultiplier", 3.0,
                              "retryableStatusCodes", List.of("UNAVAILABLE", "CANCELLED")))));

  private final Map<String, String> environment;

  Connection(Map<String, String> environment) {
    this.environment = environment;
  }

  ManagedChannel open() {
    ManagedChannelBuilder<?> builder =
        Grpc.newChannelBuilder(setting("COFACTOR_ADDRESS", "localhost:50051"), credentials())
            .defaultServiceConfig(SERVICE_CONFIG)
            .enableRetry()
            // Without pings, a client does not notice that the network drops all packets of a connection. A
            // connection that does not answer a ping is closed, and its calls are retried on another. The server
            // accepts one ping every 10 s.
            .keepAliveTime(10, TimeUnit.SECONDS)
            .keepAliveTimeout(5, TimeUnit.SECONDS)
            .intercept(new Deadline(timeout()));
    String token = setting("COFACTOR_TOKEN", "");
    if (!token.isEmpty()) {
      Metadata headers = new Metadata();
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
      builder.intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
    }
    ManagedChannel channel = builder.build();
    Thread reconnecting = new Thread(() -> reconnect(channel), "reconnect");
    reconnecting.setDaemon(true);
    reconnecting.start();
    return channel;
  }

  /** Retries lost servers every 5 s. By default, gRPC would wait up to two minutes, and Java has no setting for it. */
  private static void reconnect(ManagedChannel channel) {
    try {
      while (!channel.awaitTermination(5, TimeUnit.SECONDS)) {
        channel.resetConnectBackoff();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Returns TLS credentials that trust the authorities in a PEM file or those of the system, or no TLS. */
  private ChannelCredentials credentials() {
    String ca = setting("COFACTOR_TLS_CA", "");
    if (ca.isEmpty() && !setting("COFACTOR_TOKEN", "").isEmpty()) {
      throw new IllegalArgumentException("COFACTOR_TOKEN would travel in plain text: set COFACTOR_TLS_CA");
    }
    if (ca.isEmpty()) {
      return InsecureChannelCredentials.create();
    }
    if (ca.equals("system")) {
      return TlsChannelCredentials.create();
    }
    try {
      return TlsChannelCredentials.newBuilder().trustManager(new File(ca)).build();
    } catch (IOException e) {
      throw new IllegalArgumentException("COFACTOR_TLS_CA is a PEM file, or 'system': cannot read " + ca, e);
    }
  }

  private double timeout() {
    try {
      double seconds = Double.parseDouble(setting("COFACTOR_TIMEOUT", "5"));
      if (seconds > 0) {
        return seconds;
      }
    } catch (NumberFormatException e) {
      // The exception below covers this case.
    }
    throw new IllegalArgumentException("COFACTOR_TIMEOUT is seconds, such as 5 or 0.5");
  }

  private String setting(String name, String defaultValue) {
    String value = environment.getOrDefault(name, "");
    return value.isEmpty() ? defaultValue : value;
  }

  /** Gives every call a deadline, in seconds from its start. */
  private record Deadline(double seconds) implements ClientInterceptor {
    @Override
    public <Q, R> ClientCall<Q, R> interceptCall(MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
      return next.newCall(method, options.withDeadlineAfter((long) (seconds * 1e9), TimeUnit.NANOSECONDS));
    }
  }
}
