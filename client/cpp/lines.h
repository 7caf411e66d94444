#pragma once

#include <string>

#include <google/protobuf/repeated_field.h>
#include <grpcpp/grpcpp.h>

#include "cofactor/v1/recommender.pb.h"

// Formats a value with two decimals, rounded the same way in every language: floor(100 x + 0.5) / 100.
std::string Number(double value);

void PrintScored(const std::string& label, const google::protobuf::RepeatedPtrField<cofactor::v1::ScoredItem>& results);

// Prints an entry of BatchRecommend or a message of StreamRecommend: both hold a response or an error.
template <typename Result>
void PrintResult(const std::string& label, const Result& result);

// Returns the details of a failed call, one per line: message, reason and invalid fields.
std::string Describe(const grpc::Status& failure);
