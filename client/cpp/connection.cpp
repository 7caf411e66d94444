#include "connection.h"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace {

// Every method only reads, so every call can be retried. A server that shuts down answers CANCELLED to calls that it
// has just accepted.
constexpr char kServiceConfig[] = R"({
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": ""},
  "methodConfig": [{
    "name": [{"service": "cofactor.v1.RecommenderService"}, {"service": "cofactor.v1.CatalogService"}],
    "retryPolicy": {
      "maxAttempts": 3,
      "initialBackoff": "0.1s",
      "maxBackoff": "1s",
      "backoffMultiplier": 3,
      "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
    }
  }]
})";

// Without pings, a client does not notice that the network drops all packets of a connection. A connection that does
// not answer a ping is closed, and its calls are retried on another. The server accepts one ping every 10 s. A lost
// server is retried every 5 s; by default, gRPC would wait up to two minutes.
void SetKeepalive(grpc::ChannelArguments& arguments) {
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt("grpc.http2.ping_timeout_ms", 5'000);  // newer gRPC releases would wait a minute
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);  // also the time limit of an attempt to connect
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
}

std::string Environment(const char* name, const std::string& default_value = "") {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? default_value : value;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf())) {
    throw std::invalid_argument("COFACTOR_TLS_CA is a PEM file, or 'system': cannot read " + path);
  }
  return content.str();
}

// Returns TLS credentials that trust the authorities in a PEM file or those of the system, or no TLS; with the token.
std::shared_ptr<grpc::ChannelCredentials> Credentials() {
  const std::string ca = Environment("COFACTOR_TLS_CA");
  const std::string token = Environment("COFACTOR_TOKEN");
  if (ca.empty()) {
    if (!token.empty()) {
      throw std::invalid_argument("COFACTOR_TOKEN would travel in plain text: set COFACTOR_TLS_CA");
    }
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions options;
  if (ca != "system") options.pem_root_certs = ReadFile(ca);
  auto tls = grpc::SslCredentials(options);
  return token.empty() ? tls : grpc::CompositeChannelCredentials(tls, grpc::AccessTokenCredentials(token));
}

double Timeout() {
  const std::string text = Environment("COFACTOR_TIMEOUT", "5");
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (*end != '\0' || !(seconds > 0)) {
    throw std::invalid_argument("COFACTOR_TIMEOUT is seconds, such as 5 or 0.5");
  }
  return seconds;
}

}  // namespace

Connection connect() {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  SetKeepalive(arguments);
  return {grpc::CreateCustomChannel(Environment("COFACTOR_ADDRESS", "localhost:50051"), Credentials(), arguments),
          std::chrono::duration<double>(Timeout())};
}
