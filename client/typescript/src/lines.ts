import type { ServiceError } from "@grpc/grpc-js";
import type { EntryError, RecommendResponse, ScoredItem } from "../gen/cofactor/v1/recommender.js";
import { BadRequest, ErrorInfo } from "../gen/google/rpc/error_details.js";
import { Status } from "../gen/google/rpc/status.js";

/** Formats a value with two decimals, rounded the same way in every language: floor(100 x + 0.5) / 100. */
export function number(value: number): string {
  return (Math.floor(100 * value + 0.5) / 100).toFixed(2);
}

export function scoredLines(label: string, results: ScoredItem[]): string[] {
  return results.map(
    (result, i) => `${label} ${i + 1} ${result.itemId} ${number(result.predictedRating ?? 0)} ${result.item?.title}`,
  );
}

/** Formats an entry of BatchRecommend or a message of StreamRecommend: both hold a response or an error. */
export function resultLines(label: string, result: { response?: RecommendResponse; error?: EntryError }): string[] {
  if (result.error) return [`${label} error ${result.error.reason}`];
  return scoredLines(label, result.response?.results ?? []);
}

/** Returns the details of a failed call, one per line: message, reason and invalid fields. */
export function describe(error: ServiceError): string[] {
  const lines = [`error ${error.code} ${error.details}`];
  for (const bytes of error.metadata.get("grpc-status-details-bin")) {
    for (const detail of Status.decode(bytes as Buffer).details) {
      if (detail.typeUrl.endsWith("/google.rpc.ErrorInfo")) {
        const info = ErrorInfo.decode(detail.value);
        lines.push(`reason ${info.reason} ${info.domain}`);
      } else if (detail.typeUrl.endsWith("/google.rpc.BadRequest")) {
        for (const violation of BadRequest.decode(detail.value).fieldViolations) {
          lines.push(`violation ${violation.field} ${violation.description}`);
        }
      }
    }
  }
  return lines;
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}
