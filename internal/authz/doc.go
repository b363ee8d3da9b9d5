// Package authz holds the packages that decide which user may run which engine command.
//
// Reading order: action names what a request does; policy reads the policy file and decides;
// audit records decisions; broker speaks the protocols by which Docker and iSulad ask; authzmetrics
// exports counts of decisions. certs makes the certificates by which users are known. strictjson
// rejects JSON that two parsers can read in two ways.
//
// These packages import no package of lxcfs, of its mounts or of user namespaces, except idmap, by
// which policy reads id mappings in requests.
package authz
