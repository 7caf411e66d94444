#pragma once

#include <string>

#include <google/protobuf/repeated_field.h>
#include <grpcpp/grpcpp.h>

#include "cofactor/v1/recommender.pb.h"

// Two decimals, the same in every language: floor(100 x + 0.5) / 100.
std::string Number(double value);

void PrintScored(const std::string& label, const google::protobuf::RepeatedPtrField<cofactor::v1::ScoredItem>& results);

// An entry of BatchRecommend or an answer of StreamRecommend: both hold a response or an error.
template <typename Result>
void PrintResult(const std::string& label, const Result& result);

// What the server says about a failed call, one per line: the sentence, the reason and the fields at fault.
std::string Describe(const grpc::Status& failure);
