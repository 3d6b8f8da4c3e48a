// Package chaos shows that nothing is lost, nothing is deleted without evidence and nobody else's object is touched, whatever fails.
//
// A script, made of a seed, says what users and vandals do and what breaks when. Actors play it on real servers: a kcp with many
// workspaces, two physical clusters, the manager and the syncers as processes. After each round, when all is whole again, a judge
// compares both sides with the state that the script says, within a bound.
//
// What needs no server is pure and tested as tables: the script ([Deal]), the state that it leads to ([Model]), the judge
// ([Judge]) and what may be deleted when ([History]).
package chaos
