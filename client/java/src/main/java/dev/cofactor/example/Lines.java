package dev.cofactor.example;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import dev.cofactor.v1.ScoredItem;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Formats the parts that several lines of the output share. */
final class Lines {
  private Lines() {}

  /** Formats a value with two decimals, rounded the same way in every language: floor(100 x + 0.5) / 100. */
  static String number(double value) {
    return String.format(Locale.ROOT, "%.2f", Math.floor(100 * value + 0.5) / 100);
  }

  static List<String> scored(String label, List<ScoredItem> results) {
    List<String> lines = new ArrayList<>();
    for (ScoredItem result : results) {
      String rating = number(result.getPredictedRating());
      String title = result.getItem().getTitle();
      lines.add(String.join(" ", label, "" + (lines.size() + 1), result.getItemId(), rating, title));
    }
    return lines;
  }

  /** Returns the details of a failed call, one per line: message, reason and invalid fields. */
  static List<String> describe(StatusException failure) {
    List<String> lines = new ArrayList<>();
    String message = failure.getStatus().getDescription();
    lines.add("error " + failure.getStatus().getCode().value() + " " + (message == null ? "" : message));
    com.google.rpc.Status status = StatusProto.fromThrowable(failure);
    for (Any detail : status == null ? List.<Any>of() : status.getDetailsList()) {
      try {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          lines.add("reason " + info.getReason() + " " + info.getDomain());
        } else if (detail.is(BadRequest.class)) {
          for (BadRequest.FieldViolation violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            lines.add("violation " + violation.getField() + " " + violation.getDescription());
          }
        }
      } catch (InvalidProtocolBufferException e) {
        throw new IllegalStateException("the server's error details cannot be read", e);
      }
    }
    return lines;
  }
}
