{{/*
The body of every pod, from a dictionary:
  root       the chart's root
  component  name of the role
  args       words after `millrace`
  pod        the role's values (resources, nodeSelector, extraEnv, …)
  serving    whether it listens on the API's and the metrics port
  probes     probes by name, where the role has some
  stateful   whether it has a state folder that outlives a restart of the container
*/}}
{{- define "millrace.pod" -}}
{{- $root := .root -}}
{{- $pod := .pod -}}
metadata:
  labels:
    {{- include "millrace.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $pod.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    millrace.io/config: {{ include "millrace.configHash" $root | quote }}
    {{- with $pod.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "millrace.serviceAccount" $root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if $pod.topologySpreadConstraints }}
    {{- toYaml $pod.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "millrace.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ .component }}
    {{- end }}
  terminationGracePeriodSeconds: {{ default 60 $pod.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: millrace
      image: {{ include "millrace.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- range .args }}
        - {{ . | quote }}
        {{- end }}
      env:
        - name: MILLRACE_CONFIG
          value: /etc/millrace/config/millrace.yaml
        - name: POD_NAME
          valueFrom: { fieldRef: { fieldPath: metadata.name } }
        - name: MILLRACE__KAFKA__INSTANCE
          value: $(POD_NAME)
        {{- if .stateful }}
        - name: MILLRACE__HTTP__ADVERTISED_ADDRESS
          value: {{ ternary "https" "http" (ne (dig "http" "tls_certificate" "" $root.Values.config) "") }}://$(POD_NAME).{{ include "millrace.fullname" $root }}-processor.{{ $root.Release.Namespace }}.svc:8080
        {{- else if .serving }}
        - name: POD_IP
          valueFrom: { fieldRef: { fieldPath: status.podIP } }
        - name: MILLRACE__HTTP__ADVERTISED_ADDRESS
          value: {{ ternary "https" "http" (ne (dig "http" "tls_certificate" "" $root.Values.config) "") }}://$(POD_IP):8080
        {{- end }}
        {{- with $pod.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if .serving }}
      ports:
        - { name: http, containerPort: 8080 }
        - { name: metrics, containerPort: 9090 }
      {{- end }}
      {{- with .probes }}
      {{- range $name, $probe := . }}
      {{ $name }}Probe:
        {{- toYaml $probe | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with $pod.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: config, mountPath: /etc/millrace/config, readOnly: true }
        - { name: tmp, mountPath: /tmp }
        - { name: state, mountPath: /var/lib/millrace }
        {{- include "millrace.secretMounts" $root | nindent 8 }}
        {{- range $secret := $pod.configSecrets }}
        - { name: secret-{{ $secret }}, mountPath: /etc/millrace/secrets/{{ $secret }}, readOnly: true }
        {{- end }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $pod.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "millrace.fullname" $root }}-config }
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    {{- if not .claimed }}
    - name: state
      emptyDir: { sizeLimit: {{ .stateSize | default "64Mi" }} }
    {{- end }}
    {{- include "millrace.secretVolumes" $root | nindent 4 }}
    {{- range $secret := $pod.configSecrets }}
    - name: secret-{{ $secret }}
      secret: { secretName: {{ $secret }}, defaultMode: 0440 }
    {{- end }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "millrace.secrets" -}}
{{- $secrets := dict -}}
{{- if .Values.kafka.tls.enabled -}}
{{- with .Values.kafka.tls.caSecret }}{{- $_ := set $secrets "kafka-ca" . -}}{{- end -}}
{{- with .Values.kafka.tls.clientSecret }}{{- $_ := set $secrets "kafka-client" . -}}{{- end -}}
{{- end -}}
{{- if .Values.kafka.sasl.mechanism -}}
{{- $_ := set $secrets "kafka-sasl" (required "kafka.sasl.existingSecret: name the secret with the password" .Values.kafka.sasl.existingSecret) -}}
{{- end -}}
{{- with .Values.auth.existingSecret }}{{- $_ := set $secrets "auth" . -}}{{- end -}}
{{- with .Values.auth.internalTokenSecret }}{{- $_ := set $secrets "internal" . -}}{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}

{{- define "millrace.secretMounts" -}}
{{- range $name, $secret := include "millrace.secrets" . | fromYaml }}
- { name: {{ $name }}, mountPath: /etc/millrace/{{ $name }}, readOnly: true }
{{- end }}
{{- end -}}

{{- define "millrace.secretVolumes" -}}
{{- range $name, $secret := include "millrace.secrets" . | fromYaml }}
- name: {{ $name }}
  secret: { secretName: {{ $secret }}, defaultMode: 0440 }
{{- end }}
{{- end -}}
