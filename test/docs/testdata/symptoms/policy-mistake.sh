provoke() { echo '{"name":"all","users":["carol"],"actions":["*"]}' >>/var/lib/authz-broker/policy.json; }
answer() { # USER
	curl --silent --unix-socket /run/docker/plugins/authz-broker.sock http://localhost/AuthZPlugin.AuthZReq \
		--data "{\"User\":\"$1\",\"RequestMethod\":\"POST\",\"RequestUri\":\"/v1.41/containers/web/stop\"}"
}
seen() { answer carol | grep -q '"Allow":false'; }
found() { grep -q 'policy.json:2.*\*'; }
