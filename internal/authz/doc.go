// Package authz is the directory of the packages that decide which requests of users container
// engines carry out.
//
// Reading order: action maps requests to named actions; policy parses the policy file and decides;
// audit writes decisions to the audit log; broker implements the protocols of Docker and iSulad;
// front is a reverse proxy in front of an engine, with the same policies; authzmetrics counts
// decisions for Prometheus. learn and migrate write policies from what clients request and from the
// settings of socket proxies. certs creates the certificates that identify users. strictjson
// rejects ambiguous JSON.
//
// These packages import only packages of linux, cli and oci: of the latter idmap, with which policy
// parses id mappings in requests.
package authz
