{
  "targets": [
    {
      "target_name": "xpmem",
      "sources": [
        "<!@(node -p \"['native/core', 'native/addon'].flatMap(d => require('fs').readdirSync(d).filter(f => f.endsWith('.c')).map(f => d + '/' + f)).join(' ')\")"
      ],
      "defines": ["NAPI_VERSION=9", "_GNU_SOURCE"],
      "cflags": ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-fvisibility=hidden"],
      "ldflags": ["-Wl,-z,now", "-Wl,-z,relro"],
      "libraries": ["-lpthread"]
    }
  ]
}
