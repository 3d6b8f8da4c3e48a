package tmc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/discovery"

	"github.com/kcp-dev/workload-syncer/pkg/reconciler/workload/tmc"
)

// want is what is to be made of a recorded answer.
type want struct {
	category tmc.Category
	// gone: the answer is evidence that the object that was asked for does not exist.
	gone bool
}

// TestRecordedAnswers is the specification of the categories, by what real servers answered. Every recorded answer has
// to be in it.
func TestRecordedAnswers(t *testing.T) {
	for server, wants := range map[string]map[string]want{
		"kube-apiserver": {
			"a stale patch":                                         {tmc.Conflict, false},
			"a patch of an object that was replaced":                {tmc.Conflict, false},
			"a JSON patch that tests for something else":            {tmc.Validation, false},
			"a stale apply":                                         {tmc.Conflict, false},
			"applying to an object that was replaced":               {tmc.Conflict, false},
			"applying to an object that went":                       {tmc.Conflict, false},
			"creating with a version":                               {tmc.Internal, false},
			"creating with a body of an unknown type":               {tmc.Configuration, false},
			"a version that is none":                                {tmc.Validation, false},
			"a token that has expired":                              {tmc.Authentication, false},
			"the token of a ServiceAccount that was deleted":        {tmc.Authentication, false},
			"a write without permission":                            {tmc.Permission, false},
			"more than the quota has of the type":                   {tmc.Quota, false},
			"a watch from a version that was compacted":             {tmc.Gone, false},
			"an object that does not exist":                         {tmc.NotFound, true},
			"the status of an object that does not exist":           {tmc.NotFound, true},
			"a list of a group that is not served":                  {tmc.NotFound, false},
			"an object of a group that is not served":               {tmc.NotFound, false},
			"an object of a type that is not served":                {tmc.NotFound, false},
			"creating in a namespace that does not exist":           {tmc.NotFound, false},
			"a method that is not allowed":                          {tmc.Validation, false},
			"a patch of an unknown type":                            {tmc.Configuration, false},
			"creating what exists":                                  {tmc.AlreadyExists, false},
			"a stale update":                                        {tmc.Conflict, false},
			"an update of an object that was replaced":              {tmc.Conflict, false},
			"deleting an object that was replaced":                  {tmc.Conflict, false},
			"applying what another manager owns":                    {tmc.FieldOwnership, false},
			"a malformed object":                                    {tmc.Validation, false},
			"an unknown field, strictly":                            {tmc.Validation, false},
			"an object that is too large":                           {tmc.Validation, false},
			"an object that is too large for a message to etcd":     {tmc.Validation, false},
			"an object that etcd finds too large":                   {tmc.Validation, false},
			"an invalid object":                                     {tmc.Validation, false},
			"a change of an immutable selector":                     {tmc.Immutable, false},
			"a change of an immutable selector and another mistake": {tmc.Validation, false},
			"a change of an immutable ConfigMap":                    {tmc.Immutable, false},
			"a change of an immutable clusterIP":                    {tmc.Immutable, false},
			"a nodePort that is taken":                              {tmc.Validation, false},
			"a clusterIP that is taken":                             {tmc.Validation, false},
			"a change of an immutable claim":                        {tmc.Immutable, false},
			"a change of an immutable StatefulSet":                  {tmc.Immutable, false},
			"a change of an immutable Job":                          {tmc.Immutable, false},
			"a change of an immutable roleRef":                      {tmc.Immutable, false},
			"a credential that is not valid":                        {tmc.Authentication, false},
			"a read without permission":                             {tmc.Permission, false},
			"a list of all namespaces without permission":           {tmc.Permission, false},
			"granting more than one has":                            {tmc.Permission, false},
			"more than the quota":                                   {tmc.Quota, false},
			"no request where a quota wants one":                    {tmc.Quota, false},
			"a privileged pod where that is not allowed":            {tmc.Admission, false},
			"more than a limit range allows":                        {tmc.Admission, false},
			"a pod of a ServiceAccount that does not exist":         {tmc.Admission, false},
			"a pod of a priority class that does not exist":         {tmc.Admission, false},
			"a webhook that denies":                                 {tmc.Admission, false},
			"a webhook that denies with a code of its own":          {tmc.Admission, false},
			"a policy that denies":                                  {tmc.Admission, false},
			"a webhook that hangs":                                  {tmc.Unavailable, false},
			"a webhook that cannot be reached":                      {tmc.Unavailable, false},
			"a request that takes too long":                         {tmc.Timeout, false},
			"creating in a namespace that is being deleted":         {tmc.NamespaceTerminating, false},
			"creating a namespace that is being deleted":            {tmc.NamespaceTerminating, false},
			"creating an object that is being deleted":              {tmc.AlreadyExists, false},
			"an aggregated API that is down":                        {tmc.Unavailable, false},
			"an eviction that a disruption budget forbids":          {tmc.Unavailable, false},
			"too many requests":                                     {tmc.Unavailable, false},
			"a version from the future":                             {tmc.Timeout, false},
			"the rest of a list that was compacted":                 {tmc.Gone, false},
			"a write without etcd":                                  {tmc.Timeout, false},
		},
		"kcp": {
			"a stale patch":                                                 {tmc.Conflict, false},
			"a patch of an object that was replaced":                        {tmc.Conflict, false},
			"applying to an object that went":                               {tmc.Conflict, false},
			"deleting an object that was replaced":                          {tmc.Conflict, false},
			"a patch of an unknown type":                                    {tmc.Configuration, false},
			"an object that is too large":                                   {tmc.Validation, false},
			"a version from the future":                                     {tmc.Timeout, false},
			"a watch from a version that was compacted":                     {tmc.Gone, false},
			"a write without permission":                                    {tmc.Permission, false},
			"the token of a ServiceAccount that was deleted":                {tmc.Authentication, false},
			"more than the quota":                                           {tmc.Quota, false},
			"creating in a namespace that is being deleted":                 {tmc.NamespaceTerminating, false},
			"a workspace that is being created":                             {tmc.NotFound, true},
			"a workspace that is being created, as a ServiceAccount":        {tmc.Permission, false},
			"an object of a type whose binding is not bound":                {tmc.NotFound, false},
			"a list of a type whose binding is not bound":                   {tmc.NotFound, false},
			"a binding to an export that does not exist":                    {tmc.Permission, false},
			"a webhook that denies":                                         {tmc.Admission, false},
			"a webhook that hangs":                                          {tmc.Unavailable, false},
			"a webhook that cannot be reached":                              {tmc.Unavailable, false},
			"an object that went with the workspace that is being deleted":  {tmc.NotFound, true},
			"an object that does not exist":                                 {tmc.NotFound, true},
			"an object in a namespace that does not exist":                  {tmc.NotFound, true},
			"an object of a bound type that does not exist":                 {tmc.NotFound, true},
			"an object through an export that does not have it":             {tmc.NotFound, true},
			"an object of a type whose binding went, and so did the object": {tmc.NotFound, true},
			"creating in a namespace that does not exist":                   {tmc.NotFound, false},
			"a list of a type without binding":                              {tmc.NotFound, false},
			"an object of a type without binding":                           {tmc.NotFound, false},
			"a list through an export that does not exist":                  {tmc.NotFound, false},
			"an object through an export that does not exist":               {tmc.NotFound, false},
			"a workspace that does not exist":                               {tmc.Permission, false},
			"a workspace below one that does not exist":                     {tmc.Permission, false},
			"a logical cluster that does not exist":                         {tmc.Permission, false},
			"a workspace that does not exist, as a ServiceAccount":          {tmc.Permission, false},
			"a workspace that one may not enter":                            {tmc.Permission, false},
			"a workspace that was deleted":                                  {tmc.Permission, false},
			"the logical cluster of a workspace that was deleted":           {tmc.Permission, false},
			"a read without permission":                                     {tmc.Permission, false},
			"a virtual workspace that does not exist":                       {tmc.Permission, false},
			"an object in a virtual workspace that does not exist":          {tmc.Permission, false},
			"a type that an export does not have":                           {tmc.Permission, false},
			"an export that one may not use":                                {tmc.Permission, false},
			"a credential that is not valid":                                {tmc.Authentication, false},
			"creating what exists":                                          {tmc.AlreadyExists, false},
			"a stale update":                                                {tmc.Conflict, false},
			"applying what another manager owns":                            {tmc.FieldOwnership, false},
			"an invalid object of a bound type":                             {tmc.Validation, false},
			"a change that a rule says is immutable":                        {tmc.Immutable, false},
		},
	} {
		t.Run(server, func(t *testing.T) { checkRecording(t, server, wants) })
	}
}

func checkRecording(t *testing.T, server string, wants map[string]want) {
	for _, answer := range readRecording(t, server).Answers {
		want, ok := wants[answer.Name]
		delete(wants, answer.Name)
		t.Run(answer.Name, func(t *testing.T) {
			if !ok {
				t.Fatal("nothing is wanted of it")
			}
			err := answer.asError(t)
			wrapped := fmt.Errorf("doing something: %w", tmc.Classify(fmt.Errorf("asking: %w", err)))
			if got := tmc.CategoryOf(wrapped); got != want.category {
				t.Errorf("it is %s: got %s for %v", want.category, got, err)
			}
			if !errors.Is(wrapped, err) || apierrors.ReasonForError(wrapped) != apierrors.ReasonForError(err) {
				t.Errorf("the error as it came is seen through the sorting: %v", wrapped)
			}
			if seconds := answer.Header["Retry-After"]; seconds != "" {
				if got, _ := tmc.RetryAfter(wrapped); fmt.Sprintf("%.0f", got.Seconds()) != seconds {
					t.Errorf("the server asks to wait for %s s: got %s", seconds, got)
				}
			}
			asked := answer.target()
			if got := tmc.IsObjectNotFound(wrapped, asked.GroupResource().String(), asked.name); got != want.gone {
				t.Errorf("evidence that %s %q is gone: got %t, want %t, for %v", asked.GroupResource(), asked.name, got, want.gone, err)
			}
			if tmc.IsObjectNotFound(wrapped, asked.Resource, "another") || tmc.IsObjectNotFound(wrapped, "others", asked.name) ||
				tmc.IsObjectNotFound(wrapped, asked.Resource+".other.example.com", asked.name) {
				t.Error("it is no evidence about another object or type")
			}
		})
	}
	for name := range wants {
		t.Errorf("there is no recording of %q", name)
	}
}

func TestIsObjectNotFoundOfAnythingElse(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	madeUp := apierrors.NewNotFound(deployments, "web")
	madeUp.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeUnexpectedServerResponse}}
	for name, err := range map[string]error{
		"nothing":                       nil,
		"any error":                     io.EOF,
		"a type that is not known here": &meta.NoResourceMatchError{PartialResource: deployments.WithVersion("v1")},
		"a Status without details":      &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound}},
		"a response that client-go had to make sense of": apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", deployments, "web", "404 page not found", 0, true),
		"the same without a text":                        apierrors.NewGenericServerResponse(http.StatusNotFound, "GET", deployments, "web", "", 0, false),
		"what a proxy wrote, whatever its words":         madeUp,
		"something that is gone in another sense":        apierrors.NewResourceExpired("deployments web not found"),
	} {
		if tmc.IsObjectNotFound(err, "deployments.apps", "web") {
			t.Errorf("%s is no evidence", name)
		}
	}
	if tmc.IsObjectNotFound(apierrors.NewNotFound(deployments, ""), "deployments", "") {
		t.Error("an object without a name does not exist to begin with")
	}
}

func TestCategoryOfOtherErrors(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	invalid, unavailable := apierrors.NewBadRequest("bad"), apierrors.NewServiceUnavailable("later")
	for name, test := range map[string]struct {
		err  error
		want tmc.Category
	}{
		"nothing":                       {nil, ""},
		"a surprise":                    {errBroken, tmc.Internal},
		"a type that is not known here": {&meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "Widget"}}, tmc.NotFound},
		"being told to stop":            {fmt.Errorf("getting: %w", context.Canceled), tmc.Canceled},
		"a deadline":                    {fmt.Errorf("getting: %w", context.DeadlineExceeded), tmc.Timeout},
		"client-side throttling until the deadline": {errors.New("client rate limiter Wait returned an error: rate: Wait(n=1) would exceed context deadline"), tmc.Timeout},
		"a connection that a proxy broke":           {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 500, Message: "unable to decode an event from the watch stream: http2: client connection lost"}}, tmc.Network},
		"a credential plugin":                       {errors.New(`Get "https://example.com": getting credentials: exec: executable not found`), tmc.Authentication},
		"an answer of etcd":                         {apierrors.NewInternalError(errors.New("etcdserver: leader changed")), tmc.Unavailable},
		"a server failure that tells nothing":       {apierrors.NewInternalError(errBroken), tmc.Internal},
		"a server timeout":                          {apierrors.NewServerTimeout(deployments, "get", 1), tmc.Timeout},
		"a bad gateway":                             {apierrors.NewGenericServerResponse(502, "GET", deployments, "web", "bad gateway", 0, true), tmc.Unavailable},
		"a code that nobody knows":                  {apierrors.NewGenericServerResponse(418, "GET", deployments, "web", "teapot", 0, true), tmc.Validation},
		"a mark counts before what the error says":  {fmt.Errorf("applying: %w", tmc.As(tmc.Quota, invalid)), tmc.Quota},
		"the outer mark counts":                     {tmc.As(tmc.Quota, tmc.As(tmc.Admission, invalid)), tmc.Quota},
		"of several, what may pass by itself":       {errors.Join(invalid, unavailable), tmc.Unavailable},
		"of several, what is known":                 {errors.Join(errBroken, invalid), tmc.Validation},
		"of several that nobody knows, nothing":     {errors.Join(errBroken, io.ErrNoProgress), tmc.Internal},
		"an aggregate is several":                   {fmt.Errorf("all: %w", utilerrors.NewAggregate([]error{errBroken, invalid})), tmc.Validation},
		"a marked error among several":              {errors.Join(errBroken, tmc.As(tmc.Quota, errBroken)), tmc.Quota},
		"several wrapped under a mark":              {tmc.As(tmc.Quota, errors.Join(invalid, unavailable)), tmc.Quota},
		"a discovery that failed for some":          {&discovery.ErrGroupDiscoveryFailed{Groups: map[schema.GroupVersion]error{{Group: "a"}: unavailable}}, tmc.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tmc.CategoryOf(test.err); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			classified := tmc.Classify(test.err)
			if got := tmc.CategoryOf(classified); got != test.want {
				t.Errorf("sorted: got %s, want %s", got, test.want)
			}
			if again := tmc.Classify(classified); again != classified { //nolint:errorlint // the very same
				t.Error("sorting again changes nothing")
			}
			if test.err != nil && classified.Error() != test.err.Error() {
				t.Errorf("the text stays: got %q", classified)
			}
		})
	}
}

func TestWithContext(t *testing.T) {
	err := tmc.WithContext(tmc.As(tmc.Quota, errBroken), tmc.Context{
		Operation: "applying", Server: "cluster", Cluster: "root:team", Namespace: "web", Name: "nginx",
		Resource: schema.GroupResource{Group: "apps", Resource: "deployments"},
	})
	if want := "applying root:team|web/nginx (deployments.apps) at cluster: it broke"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	var sorted *tmc.Error
	if !errors.As(err, &sorted) || sorted.Category != tmc.Quota || sorted.Context.Name != "nginx" || !errors.Is(err, errBroken) {
		t.Errorf("got %+v", sorted)
	}
	if tmc.WithContext(nil, tmc.Context{Name: "a"}) != nil || tmc.As(tmc.Quota, nil) != nil || tmc.Classify(nil) != nil {
		t.Error("nil stays nil")
	}
	if got := tmc.WithContext(errBroken, tmc.Context{}).Error(); got != "it broke" {
		t.Errorf("without circumstances the text stays: got %q", got)
	}
}

func TestRetryAfter(t *testing.T) {
	if d, ok := tmc.RetryAfter(fmt.Errorf("getting: %w", tmc.Classify(apierrors.NewTooManyRequests("later", 7)))); !ok || d != 7*time.Second {
		t.Errorf("what the server asked for: got %s, %t", d, ok)
	}
	for _, err := range []error{nil, errBroken, apierrors.NewTooManyRequests("later", 0), apierrors.NewServiceUnavailable("later")} {
		if d, ok := tmc.RetryAfter(err); ok {
			t.Errorf("%v asks for nothing: got %s", err, d)
		}
	}
}

// TestTraits is the specification of what goes with a category: who should care, whether it may pass by itself, what it is about,
// and of what the remedy speaks.
func TestTraits(t *testing.T) {
	type traits struct {
		severity  tmc.Severity
		retryable bool
		domain    string
		hint      string
	}
	wants := map[tmc.Category]traits{
		tmc.NotFound:             {tmc.Failure, true, "resource", "APIBinding"},
		tmc.Conflict:             {tmc.Info, true, "resource", "current state"},
		tmc.FieldOwnership:       {tmc.Failure, false, "resource", "field managers"},
		tmc.AlreadyExists:        {tmc.Failure, true, "resource", "conflict policy"},
		tmc.Validation:           {tmc.Failure, false, "resource", "correct the object"},
		tmc.Immutable:            {tmc.Failure, false, "resource", "recreate"},
		tmc.Permission:           {tmc.Failure, false, "resource", "grant"},
		tmc.Admission:            {tmc.Failure, false, "resource", "webhook or policy"},
		tmc.Quota:                {tmc.Failure, false, "resource", "raise the quota"},
		tmc.Authentication:       {tmc.Critical, true, "cluster", "renew the credentials"},
		tmc.Unreachable:          {tmc.Critical, true, "cluster", "firewalls"},
		tmc.Network:              {tmc.Warning, true, "network", "proxies"},
		tmc.Unavailable:          {tmc.Warning, true, "cluster", "health and load"},
		tmc.Timeout:              {tmc.Warning, true, "cluster", "webhooks"},
		tmc.NamespaceTerminating: {tmc.Warning, true, "resource", "until the namespace is gone"},
		tmc.Gone:                 {tmc.Info, true, "resource", "listed anew"},
		tmc.Configuration:        {tmc.Critical, true, "configuration", "certificate authority"},
		tmc.PlacementConstraint:  {tmc.Failure, false, "placement", "Placement"},
		tmc.PlacementCapacity:    {tmc.Failure, true, "placement", "room"},
		tmc.PlacementPolicy:      {tmc.Failure, false, "placement", "uncordon"},
		tmc.MigrationFailure:     {tmc.Failure, true, "migration", "new target"},
		tmc.MigrationTimeout:     {tmc.Failure, true, "migration", "new target"},
		tmc.MigrationRollback:    {tmc.Critical, true, "migration", "return"},
		tmc.Projection:           {tmc.Failure, false, "projection", "annotation"},
		tmc.Aggregation:          {tmc.Failure, false, "aggregation", "annotation"},
		tmc.Canceled:             {tmc.Info, true, "internal", "none needed"},
		tmc.Internal:             {tmc.Warning, true, "internal", "report it"},
	}
	for _, c := range tmc.Categories() {
		want := wants[c]
		got := traits{c.Severity(), c.Retryable(), c.Domain(), want.hint}
		if got != want || !strings.Contains(c.Hint(), want.hint) {
			t.Errorf("%s: got %+v with the hint %q, want %+v", c, got, c.Hint(), want)
		}
		var sorted *tmc.Error
		if err := fmt.Errorf("doing: %w", tmc.As(c, errBroken)); !errors.As(err, &sorted) ||
			sorted.Severity() != want.severity || sorted.Retryable() != want.retryable || sorted.Hint() != c.Hint() {
			t.Errorf("an error of category %s says the same: got %+v", c, sorted)
		}
	}
}

func TestCategories(t *testing.T) {
	if all := tmc.Categories(); !slices.Contains(all, tmc.Internal) || len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
		t.Errorf("each category is listed once: %v", all)
	}
	for _, c := range append(tmc.Categories(), "FromTheFuture") {
		t.Run(string(c), func(t *testing.T) {
			if c.Hint() == "" || c.Severity() == "" || c.Domain() == "" {
				t.Error("it has a hint, a severity and a domain")
			}
			last := time.Duration(0)
			for attempt := range 100 {
				longest := tmc.Backoff(c, attempt, func() float64 { return 0 })
				shortest := tmc.Backoff(c, attempt, func() float64 { return 0.999999 })
				if longest < last || longest > 5*time.Minute || shortest < longest/2 || shortest <= 0 {
					t.Fatalf("it grows to a cap, and jitter takes off half at most: attempt %d: %s to %s after %s", attempt, shortest, longest, last)
				}
				last = longest
			}
			if d := tmc.Backoff(c, 1<<62, nil); d <= 0 || d > last {
				t.Errorf("it goes on for ever: got %s", d)
			}
		})
	}
	if tmc.Category("FromTheFuture").Retryable() != tmc.Internal.Retryable() || !tmc.Internal.Retryable() {
		t.Error("what is not known is retried")
	}
	if got := tmc.Backoff(tmc.Conflict, 2, func() float64 { return 1 }); got != 10*time.Millisecond {
		t.Errorf("jitter takes off up to half: got %s of 20ms", got)
	}
	steady := func() float64 { return 0 }
	for attempt, want := range map[int]time.Duration{0: 10 * time.Millisecond, 1: 10 * time.Millisecond, 2: 20 * time.Millisecond, 5: 160 * time.Millisecond, 50: 5 * time.Second} {
		if got := tmc.Backoff(tmc.Conflict, attempt, steady); got != want {
			t.Errorf("attempt %d after a conflict: got %s, want %s", attempt, got, want)
		}
	}
}
