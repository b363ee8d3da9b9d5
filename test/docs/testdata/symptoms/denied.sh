provoke() {
	echo '{"name":"watchers","users":["bob"],"actions":["container"],"readonly":true}' >/var/lib/authz-broker/policy.json
	systemctl start authz-broker
	systemctl reload authz-broker
}
answer() { # USER
	curl --silent --unix-socket /run/docker/plugins/authz-broker.sock http://localhost/AuthZPlugin.AuthZReq \
		--data "{\"User\":\"$1\",\"RequestMethod\":\"POST\",\"RequestUri\":\"/v1.41/containers/web/stop\"}"
}
seen() { answer bob | grep -q '"Allow":false'; }
found() { grep -q '^denied: policy "watchers" is read-only'; }
