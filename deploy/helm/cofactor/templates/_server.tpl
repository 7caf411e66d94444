{{- define "cofactor.health" -}}
exec:
  command: [cofactor, health, "--address=localhost:50051", "--ca=/etc/cofactor-tls/ca.crt", "--server-name={{ .Values.tls.serverName }}", "--timeout=3"]
{{- end }}

{{- /* A Deployment of the server; takes root, name, track, image and replicas (0: the autoscaler decides). */}}
{{- define "cofactor.deployment" -}}
{{- $values := .root.Values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels: {app.kubernetes.io/name: cofactor{{ if ne .track "stable" }}, cofactor-track: {{ .track }}{{ end }}}
spec:
  {{- if .replicas }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels: {app.kubernetes.io/name: cofactor, cofactor-track: {{ .track }}}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels: {app.kubernetes.io/name: cofactor, cofactor-track: {{ .track }}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "9464"
    spec:
      # Must be more than --drain-delay-s + --grace-s + 5 s.
      terminationGracePeriodSeconds: 40
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        fsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {app.kubernetes.io/name: cofactor, cofactor-track: {{ .track }}}
      {{- with $values.nodeSelector }}
      nodeSelector: {{ toJson . }}
      {{- end }}
      {{- if or $values.gpu.enabled $values.tolerations }}
      tolerations:
        {{- if $values.gpu.enabled }}
        - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
        {{- end }}
        {{- range $values.tolerations }}
        - {{ toJson . }}
        {{- end }}
      {{- end }}
      containers:
        - name: server
          image: {{ .image }}
          args:
            {{- if $values.tls.enabled }}
            - --tls-certificate=/etc/cofactor-tls/tls.crt
            - --tls-key=/etc/cofactor-tls/tls.key
            {{- else }}
            - --insecure-plaintext
            {{- end }}
            - --tokens=/etc/cofactor/tokens.toml
            - --copies=/copies
            - --metrics-port=9464
            - --admin-port=50052
            - --log-format=json
            - --drain-delay-s=5
            - --grace-s=20
            - --max-connection-age-s=300
            {{- if $values.gpu.enabled }}
            - --provider=cuda
            {{- end }}
            {{- with $values.models.address }}
            - --models={{ . }}
            {{- end }}
            {{- range $values.args }}
            - {{ quote . }}
            {{- end }}
          {{- if $values.models.address }}
          envFrom:
            - secretRef: {name: {{ $values.models.credentialsSecret }}}
          {{- end }}
          ports:
            - {name: grpc, containerPort: 50051}
            - {name: metrics, containerPort: 9464}
          {{- if $values.tls.enabled }}
          startupProbe:
            {{- include "cofactor.health" .root | nindent 12 }}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 24
          readinessProbe:
            {{- include "cofactor.health" .root | nindent 12 }}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 2
          {{- else }}
          startupProbe:
            grpc: {port: 50051}
            periodSeconds: 2
            failureThreshold: 60
          readinessProbe:
            grpc: {port: 50051}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 3
          {{- end }}
          livenessProbe:
            tcpSocket: {port: 50051}
            periodSeconds: 10
            failureThreshold: 6
          {{- $resources := deepCopy $values.resources }}
          {{- if $values.gpu.enabled }}
          {{- $_ := set $resources.limits "nvidia.com/gpu" "1" }}
          {{- end }}
          resources: {{ toJson $resources }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            {{- if not $values.models.address }}
            - {name: models, mountPath: /models, readOnly: true}
            {{- end }}
            - {name: tokens, mountPath: /etc/cofactor, readOnly: true}
            - {name: copies, mountPath: /copies}
            - {name: tmp, mountPath: /tmp}
            {{- if $values.tls.enabled }}
            - {name: tls, mountPath: /etc/cofactor-tls, readOnly: true}
            {{- end }}
      volumes:
        {{- if not $values.models.address }}
        - name: models
          persistentVolumeClaim: {claimName: {{ $values.models.claim }}, readOnly: true}
        {{- end }}
        - name: tokens
          secret: {secretName: {{ $values.tokensSecret }}}
        - name: copies
          emptyDir: {sizeLimit: 4Gi}
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- if $values.tls.enabled }}
        - name: tls
          secret: {secretName: {{ $values.tls.secret }}}
        {{- end }}
{{- end }}
