package dev.cofactor.example;

import io.grpc.ManagedChannel;
import io.grpc.StatusException;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

/** Runs the tour: {@code Main [USER_ID [SEARCH_WORDS]]}. */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) throws InterruptedException {
    // By default, Java 17 prints in the encoding of the locale.
    PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
    String userId = arguments.length > 0 ? arguments[0] : "1";
    String words = arguments.length > 1 ? arguments[1] : "star wars";
    int exitCode = 0;
    try {
      ManagedChannel channel = new Connection(System.getenv()).open();
      try {
        new Tour(channel, out, userId, words).run();
      } finally {
        channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
      }
    } catch (StatusException failure) {
      Lines.describe(failure).forEach(System.err::println);
      exitCode = 1;
    } catch (IllegalArgumentException failure) {
      System.err.println(failure.getMessage());
      exitCode = 2;
    }
    System.exit(exitCode);
  }
}
