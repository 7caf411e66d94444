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
  // Every method only reads, so every method may be tried again. CANCELLED is what a server that stops answers to
  // calls that it had just accepted. Numbers are doubles, as in JSON.
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
            // A network that swallows packets tells nobody: a connection that leaves a ping without an answer is
            // ended, and its calls are tried on another. The server wants 10 s between pings.
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

  /** Looks for lost servers every 5 s: gRPC would come to wait for two minutes, and has no setting for it in Java. */
  private static void reconnect(ManagedChannel channel) {
    try {
      while (!channel.awaitTermination(5, TimeUnit.SECONDS)) {
        channel.resetConnectBackoff();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** TLS with the certificate authorities of a PEM file, or of the system, or no TLS. */
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
      // Told below.
    }
    throw new IllegalArgumentException("COFACTOR_TIMEOUT is seconds, such as 5 or 0.5");
  }

  private String setting(String name, String otherwise) {
    String value = environment.getOrDefault(name, "");
    return value.isEmpty() ? otherwise : value;
  }

  /** Gives every call a deadline, in seconds from its start. */
  private record Deadline(double seconds) implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return next.newCall(method, options.withDeadlineAfter((long) (seconds * 1e9), TimeUnit.NANOSECONDS));
    }
  }
}
