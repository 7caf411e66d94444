#include "lines.h"

#include <cmath>
#include <cstdio>
#include <iostream>
#include <sstream>

#include <grpcpp/support/error_details.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace api = cofactor::v1;

std::string Number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.2f", std::floor(100 * value + 0.5) / 100);
  return text;
}

void PrintScored(const std::string& label, const google::protobuf::RepeatedPtrField<api::ScoredItem>& results) {
  for (int i = 0; i < results.size(); ++i) {
    std::cout << label << ' ' << i + 1 << ' ' << results[i].item_id() << ' ' << Number(results[i].predicted_rating())
              << ' ' << results[i].item().title() << '\n';
  }
}

template <typename Result>
void PrintResult(const std::string& label, const Result& result) {
  if (result.has_error()) {
    std::cout << label << " error " << result.error().reason() << '\n';
  } else {
    PrintScored(label, result.response().results());
  }
}

template void PrintResult(const std::string&, const api::BatchRecommendResponse::Entry&);
template void PrintResult(const std::string&, const api::StreamRecommendResponse&);

std::string Describe(const grpc::Status& failure) {
  std::ostringstream lines;
  lines << "error " << failure.error_code() << ' ' << failure.error_message();
  google::rpc::Status status;
  if (!grpc::ExtractErrorDetails(failure, &status).ok()) return lines.str();
  for (const auto& detail : status.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    if (detail.UnpackTo(&info)) {
      lines << "\nreason " << info.reason() << ' ' << info.domain();
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        lines << "\nviolation " << violation.field() << ' ' << violation.description();
      }
    }
  }
  return lines.str();
}
