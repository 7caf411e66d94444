package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // implements healthCheckConfig
	"google.golang.org/grpc/keepalive"
)

// Every method only reads, so every call can be retried. A server that shuts down answers CANCELLED to calls that it
// has just accepted.
const serviceConfig = `{
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
}`

// Without pings, a client does not notice that the network drops all packets of a connection. A connection that does
// not answer a ping is closed, and its calls are retried on another. The server accepts one ping every 10 s.
var pings = keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}

// reconnect retries a lost server at least every 5 s. By default, gRPC would wait up to two minutes.
func reconnect() grpc.ConnectParams {
	config := backoff.DefaultConfig
	config.MaxDelay = 4 * time.Second // gRPC varies it by a fifth
	return grpc.ConnectParams{Backoff: config, MinConnectTimeout: 5 * time.Second}
}

// bearerToken adds "authorization: Bearer TOKEN" to every call.
type bearerToken string

func (token bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

// RequireTransportSecurity prevents the token from being sent in plaintext.
func (bearerToken) RequireTransportSecurity() bool { return true }

// withTimeout gives every unary call a deadline.
func withTimeout(timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
		invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return invoke(ctx, method, request, reply, connection, options...)
	}
}

// transport returns TLS credentials that trust the authorities in a PEM file or those of the system, or no TLS.
func transport(caFile string) (credentials.TransportCredentials, error) {
	switch caFile {
	case "":
		return insecure.NewCredentials(), nil
	case "system":
		return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}), nil
	default:
		return credentials.NewClientTLSFromFile(caFile, "")
	}
}

func environment(name, defaultValue string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return defaultValue
}

// connect opens the connection that COFACTOR_ADDRESS, COFACTOR_TLS_CA, COFACTOR_TOKEN and COFACTOR_TIMEOUT describe.
func connect() (*grpc.ClientConn, time.Duration, error) {
	timeout, err := time.ParseDuration(environment("COFACTOR_TIMEOUT", "5") + "s")
	if err != nil || timeout <= 0 {
		return nil, 0, errors.New("COFACTOR_TIMEOUT is seconds, such as 5 or 0.5")
	}
	security, err := transport(os.Getenv("COFACTOR_TLS_CA"))
	if err != nil {
		return nil, 0, fmt.Errorf("COFACTOR_TLS_CA is a PEM file, or 'system': %w", err)
	}
	token := os.Getenv("COFACTOR_TOKEN")
	if token != "" && os.Getenv("COFACTOR_TLS_CA") == "" {
		return nil, 0, errors.New("COFACTOR_TOKEN would travel in plain text: set COFACTOR_TLS_CA")
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(pings),
		grpc.WithConnectParams(reconnect()),
		grpc.WithUnaryInterceptor(withTimeout(timeout)),
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearerToken(token)))
	}
	connection, err := grpc.NewClient(environment("COFACTOR_ADDRESS", "localhost:50051"), options...)
	return connection, timeout, err
}
