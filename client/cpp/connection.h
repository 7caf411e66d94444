#pragma once

#include <chrono>
#include <memory>

#include <grpcpp/grpcpp.h>

// A channel and how long a call on it may take.
struct Connection {
  std::shared_ptr<grpc::Channel> channel;
  std::chrono::duration<double> timeout;
};

// Reads COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT.
// Throws std::invalid_argument naming the one that is wrong.
Connection connect();
