"""Rows of FLAT's simulator. Figures: FuseMax artifact, flat_validation.csv (MIT)."""

HEADING = (
    "platform,models,seq_len,B,D,E,F,H,M,P,S,Q_loc,K_loc,QK_loc,A_loc,V_loc,AV_loc,"
    "QK_stationarity,AV_stationarity,fusion_granularity,P1,proportion_buffered,"
    "proportion_spilled,mem_traffic,ideal_latency,actual_latency,energy"
)
# Fused by rows and spilling, output-stationary; fused and spilling, weight-stationary; unfused and
# spilling: each of the simulator's rules decides one of them.
ROWS = (
    "cloud,BERT,128K,64,768,64,64,12,131072,131072,3072,onchip,offchip,onchip,onchip,offchip,"
    "offchip,output,output,row,256,0.4980544747081712,0.5019455252918288,43022236345626.9,"
    "27.414684868085107,100.17145968717385,1376711563060060.8",
    "edge,BERT,2K,64,768,64,64,12,2048,2048,3072,onchip,offchip,onchip,onchip,offchip,offchip,"
    "weight,weight,row,128,0.9014084507042254,0.09859154929577463,14467195629.971828,"
    "0.4283544510638298,0.42845971643274183,462950260159.0985",
    "edge,TrXL,1K,64,1024,64,64,16,1024,1024,4096,onchip,offchip,offchip,offchip,offchip,offchip,"
    "weight,weight,head,32,0.9770992366412213,0.022900763358778664,7569803858.076337,"
    "0.1427848170212766,0.1427997498714366,242233723458.44278",
)
