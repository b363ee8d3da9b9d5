package action

import (
	"strings"
	"sync"
)

// Command is one of an engine's client, which asks the engine for some actions, one after the other.
type Command struct {
	Engine  Engine
	Name    string
	Actions []Action
}

// Client is the client's name.
func (c Command) Client() string {
	if c.Engine == Isulad {
		return "isula"
	}
	return "docker"
}

// sameCommands are the actions that the commands of both clients ask for.
const sameCommands = `create: container_create
start: container_start
stop: container_stop
restart: container_restart
kill: container_kill
rm: container_delete
pause: container_pause
unpause: container_unpause
rename: container_rename
update: container_update
export: container_export
inspect: container_inspect
ps: container_list
wait: container_wait
events: docker_events
version: docker_version
info: docker_info
images: image_list
rmi: image_delete
tag: image_tag`

// isulaCommands are those of isula's other commands, the one that they are for last (iSulad 2.1.6).
const isulaCommands = `run: container_create
exec: container_inspect container_exec_create
attach: container_inspect container_wait container_attach
top: container_inspect container_top
cp: docker_info container_archive
stats: container_stats
logs: container_logs
import: image_import
load: image_load
search: image_search
pull: pull
login: login
logout: logout`

// dockerCommands are those of docker's other commands (docker 20.10 and 28.2). Without docker_ping, which all of them ask for at first, they
// go on in the oldest version of the API that they know.
const dockerCommands = `run: container_create container_attach container_wait container_start
exec: container_inspect container_exec_inspect container_exec_start container_exec_create
attach: container_inspect container_wait container_attach
top: container_top
cp: container_archive_info container_archive
stats: container_list container_stats
logs: container_inspect container_logs
diff: container_changes
commit: container_commit
save: images_archive
load: images_load
history: image_history
import: image_create
search: images_search
pull: image_create
push: image_push
build: image_build
login: docker_auth`

// commands are those of both.
var commands = sync.OnceValue(func() []Command {
	return append(parseCommands(Docker, dockerCommands+"\n"+sameCommands), parseCommands(Isulad, isulaCommands+"\n"+sameCommands)...)
})

// Commands are the commands of both clients.
func Commands() []Command { return commands() }

// CommandOf is a command of an engine's client.
func CommandOf(e Engine, name string) (Command, bool) {
	for _, c := range commands() {
		if c.Engine == e && c.Name == name {
			return c, true
		}
	}
	return Command{}, false
}

func parseCommands(e Engine, table string) (parsed []Command) {
	known := Of(e)
	for line := range strings.Lines(table) {
		name, actions, _ := strings.Cut(line, ":")
		c := Command{Engine: e, Name: name}
		for word := range strings.FieldsSeq(actions) {
			for _, a := range known {
				if a.Name == word {
					c.Actions = append(c.Actions, a)
				}
			}
		}
		parsed = append(parsed, c)
	}
	return parsed
}
