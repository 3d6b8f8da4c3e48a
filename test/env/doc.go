// Package env runs the real servers that tests and the demo work against: kcp, physical Kubernetes clusters whose
// nodes and pods are simulated by kwok, and programs under test.
//
// An [Env] owns all that it starts. Servers are built from the pinned modules under hack/servers and cached outside the
// tree (see [EnsureServers]); they listen on loopback only, on ports that no other Env uses, and write below one
// temporary directory. [Env.Close] ends everything, and so does the end of the process that made the Env, whichever
// way it ends: a child process is told by the kernel and cleans up (see reaper.go).
//
// Every server can be paused, killed and restarted (see [Process]), and reached through a [Link] that can be cut.
//
// In a test package:
//
//	func TestMain(m *testing.M) { os.Exit(env.Main(m, env.WithKCP(), env.WithCluster("alpha"))) }
//
//	func TestSomething(t *testing.T) {
//		e := env.For(t) // starts the servers at the first call, in parallel; skips under -short
//		team, err := e.KCP().CreateWorkspace(t.Context(), env.Root, "team-a")
//		...
//		config := e.Cluster("alpha").AdminConfig()
//	}
package env
