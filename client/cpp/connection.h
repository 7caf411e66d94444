#pragma once

#include <chrono>
#include <memory>

#include <grpcpp/grpcpp.h>

// A channel, and the most time that a call on it may take.
struct Connection {
  std::shared_ptr<grpc::Channel> channel;
  std::chrono::duration<double> timeout;
};

// Opens the connection that COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT describe.
// Throws std::invalid_argument that names the invalid one.
Connection connect();
